// @ts-check
/** हिन्दी के पाठ। The same keys as in en.js; what is missing here is shown in English. */

export default {
  product: "वॉलेट",
  actions: { again: "फिर कोशिश करें", cancel: "रद्द करें", close: "बंद करें", log_in: "लॉग इन", log_out: "लॉग आउट", recharge: "रिचार्ज", reload: "पेज फिर लोड करें", csv: "CSV डाउनलोड", save: "सहेजें", all: "सभी", show: "दिखाएँ", back: "वापस" },
  balance: { balance: "शेष राशि", held: "कॉल के लिए आरक्षित", available: "उपलब्ध", due: "बकाया" },
  banner: { sandbox: "सैंडबॉक्स: असली पैसा नहीं लगता।", test: "Razorpay का टेस्ट मोड: असली पैसा नहीं लगता।", simulator: "टेलीफ़ोन नेटवर्क एक सिमुलेटर है: किसी को कॉल नहीं जाती।" },
  chart: { as_table: "तालिका दिखाएँ", as_chart: "चार्ट दिखाएँ", when: "कब", most: "सबसे अधिक: {most}", summary: "{title}, {from} से {to}; सबसे अधिक {most}" },
  fields: { name: "नाम", email: "ई-मेल", password: "पासवर्ड", password_hint: "कम से कम 8 अक्षर, बहुत आम पासवर्ड नहीं।", phone_optional: "टेलीफ़ोन (वैकल्पिक)", totp: "दूसरे प्रमाण का कोड", totp_hint: "ऑथेंटिकेटर ऐप से, या रिकवरी कोड।", reason: "कारण", reason_hint: "यह ऑडिट लॉग में रखा जाता है।", reason_missing: "पहले कारण लिखें।", from: "से", to: "तक" },
  roles: { user: "उपयोगकर्ता", operator: "ऑपरेटर", admin: "एडमिन" },
  themes: { auto: "सिस्टम", light: "हल्का", dark: "गहरा" },
  settings: { language: "भाषा", theme: "हल्का या गहरा" },
  states: { loading: "लोड हो रहा है", working: "काम जारी है …", request: "अनुरोध {id}: सहायता को यह बताएँ।", broken: "यह पेज टूट गया। इससे कुछ नहीं बदला।", nowhere: "इस पते पर कोई पेज नहीं है।" },
  table: { pages: "पृष्ठ", newest: "सबसे नए", newer: "नए", older: "पुराने" },
  nav: { label: "मुख्य", skip: "सीधे पेज पर जाएँ", home: "होम", calls: "कॉल", campaigns: "अभियान", transactions: "लेन-देन", payments: "भुगतान", do_not_call: "कॉल न करें", account: "खाता", more: "और", overview: "सारांश", users: "उपयोगकर्ता", review: "समीक्षा", rates: "दरें", books: "ऑडिट", complaints: "शिकायतें", rules: "कॉल के नियम", network: "नेटवर्क", log: "ऑडिट लॉग" },
  notices: {
    out_of_touch: "सेवा से संपर्क टूटा है: जो दिख रहा है वह पुराना हो सकता है। अपने आप फिर कोशिश हो रही है।",
    frozen: "यह वॉलेट रोका गया है: एडमिन के खोलने तक कोई कॉल नहीं। पैसा फिर भी जोड़ा जा सकता है।",
    low: "{available} बचा है। {minimum} से कम पर कोई कॉल शुरू नहीं हो सकती।",
    empty: "वॉलेट खाली है। कॉल और अभियान रिचार्ज की प्रतीक्षा में हैं।",
  },
  problems: {
    unreachable: "सेवा तक नहीं पहुँच सके। आपने जो माँगा उसका कुछ पता नहीं; फिर कोशिश करें।",
    unavailable: "सेवा अभी नहीं बता सकती। थोड़ी देर में फिर कोशिश करें; कुछ खोया नहीं।",
    too_many: "बहुत बार कोशिश हुई। {seconds} सेकंड रुककर फिर कोशिश करें।",
    invalid_credentials: "ई-मेल या पासवर्ड गलत है।",
    second_factor_required: "कोड सही नहीं है। कोड हर 30 सेकंड में बदलता है।",
    email_taken: "इस ई-मेल का खाता पहले से है: लॉग इन करें।",
    account_disabled: "यह खाता बंद है। सहायता से पूछें।",
  },
  door: { headline: "पैसे-पैसे के हिसाब वाली कॉल।", story: "रिचार्ज करें, कॉल करें, और हर रुपया देखें: क्या आरक्षित हुआ, क्या लगा, और क्यों।", small: "प्रीपेड। कोई कॉल वह पैसा खर्च नहीं कर सकती जो है ही नहीं।" },
  log_in: { title: "लॉग इन", new_here: "यहाँ नए हैं?", create: "खाता बनाएँ", expired: "आपका सत्र समाप्त हो गया", expired_why: "फिर लॉग इन करें; पेज पर जो है वह वैसा ही रहेगा।", other_account: "दूसरा खाता" },
  sign_up: { title: "खाता बनाएँ", create: "खाता बनाएँ", begins: "आपका वॉलेट ₹0.00 से शुरू होता है।", have_one: "मेरा खाता है" },
  search: { open: "खोजें", title: "खोज", label: "आईडी या टेलीफ़ोन नंबर", hint: "call_…, cmp_…, txn_…, order_… जैसी आईडी, या टेलीफ़ोन नंबर।", hint_staff: "call_…, usr_…, order_… जैसी आईडी, टेलीफ़ोन नंबर, नाम या ई-मेल।", call: "कॉल {text}", campaign: "अभियान {text}", transaction: "लेन-देन {text}", order: "ऑर्डर {text}", payment: "भुगतान {text}", number: "{text} के साथ क्या हुआ", user: "उपयोगकर्ता {text}", users: "“{text}” जैसे उपयोगकर्ता" },
  shortcuts: { title: "कीबोर्ड शॉर्टकट" },
  recharge: {
    title: "वॉलेट रिचार्ज करें", missing: "{amount} कम है: {available} उपलब्ध है। भुगतान के बाद आपका काम आगे बढ़ता है।",
    amounts: "राशियाँ", amount: "राशि रुपये में", type_amount: "1,500 या 99.50 जैसी राशि लिखें।", pay: "Razorpay से {amount} दें", where: "भुगतान अपने पेज पर खुलता है। Razorpay की पुष्टि होते ही पैसा वॉलेट में आ जाता है।",
    waiting_title: "{amount} की प्रतीक्षा", waiting: "खुले हुए पेज पर भुगतान करें। यह पेज अपने आप आगे बढ़ेगा।", blocked: "ब्राउज़र ने भुगतान का पेज नहीं खोला। यहाँ खोलें:", open_page: "भुगतान का पेज खोलें", other_amount: "दूसरी राशि", by_itself: "इसे बंद कर सकते हैं: भुगतान अपने आप वॉलेट में जुड़ता है।", failed: "भुगतान असफल रहा। कुछ नहीं कटा; फिर कोशिश करें।", arrived: "{amount} आपके वॉलेट में है।",
  },
  pay: {
    title: "{amount} का रिचार्ज", pay: "{amount} दें", loading: "भुगतान खुल रहा है …", paid: "भुगतान हुआ। {amount} वॉलेट में है।", close: "यह पेज बंद कर सकते हैं।", pending: "Razorpay ने अभी पुष्टि नहीं की है। पैसा अपने आप जुड़ेगा; यह पेज देखता रहता है।", dismissed: "भुगतान बंद किया गया। कुछ नहीं कटा।", failed: "भुगतान असफल: {reason}", unknown: "इस पते पर कोई ऑर्डर नहीं है।", expired: "इस ऑर्डर का भुगतान अब नहीं हो सकता। वॉलेट में नया बनाएँ।", back: "वॉलेट पर", script: "Razorpay का पेज लोड नहीं हुआ। कनेक्शन देखें, फिर कोशिश करें।",
  },
  // --- home ---
  home: {},
  // --- calls ---
  calls: {},
  // --- campaigns ---
  campaigns: {},
  // --- transactions ---
  transactions: {},
  // --- payments ---
  payments: {},
  // --- do_not_call ---
  do_not_call: {},
  // --- account ---
  account: {},
  // --- admin_overview ---
  overview: {
    period: "अवधि", ranges: { 7: "7 दिन", 30: "30 दिन", 90: "तिमाही", own: "अपनी तारीख़ें" }, range: "{from} से {to}", in_range: "{range}",
    dates_missing: "दोनों दिन चुनें।", dates_order: "पहला दिन आख़िरी दिन के बाद नहीं हो सकता।", dates_long: "अधिक से अधिक {days} दिन।",
    csv: "दिनों का CSV", compared: "{range} से तुलना।", not_over: "आज का दिन अभी पूरा नहीं हुआ है।",
    before_unknown: "पिछली अवधि के आँकड़े पता नहीं", as_before: "पिछली अवधि जितना", none_before: "पिछली अवधि में कुछ नहीं", from_before: "पहले {before}",
    total: "सभी वॉलेट की कुल राशि, अभी", wallets: { one: "1 उपयोगकर्ता के वॉलेट में।", other: "{count} उपयोगकर्ताओं के वॉलेट में।" },
    now: "अभी", waits: "आपका इंतज़ार", nows: { live: "चल रही कॉल", in_review: "समीक्षा में भुगतान", low: "कम राशि वाले उपयोगकर्ता", adjustments: "दूसरे एडमिन का इंतज़ार करते समायोजन" },
    recharged: "रिचार्ज", recharges: "{count} रिचार्ज", average: "औसत रिचार्ज", no_average: "तुलना के लिए कुछ नहीं है।",
    cost: "कॉल ख़र्च", calls: "{calls} कॉल, {answered} का जवाब मिला", a_call: "जवाब मिली हर कॉल पर {cost}",
    failed: "असफल भुगतान", failed_share: "सभी कोशिशों का {share}",
    cost_a_day: "प्रतिदिन कॉल ख़र्च", cost_now: "लिया गया", cost_before: "पिछली अवधि में", no_calls: "इस अवधि में कोई कॉल नहीं", no_calls_hint: "दूसरी तारीख़ें चुनें।",
    payments_a_day: "प्रतिदिन भुगतान", paid: "सफल", failed_ones: "असफल", no_payments: "इस अवधि में कोई भुगतान नहीं", no_payments_hint: "दूसरी तारीख़ें चुनें।",
    by_reason: "भुगतान क्यों असफल हुए", reason: "कारण", share: "हिस्सा", payments: "भुगतान", before: "पहले", none_failed: "इस अवधि में कोई भुगतान असफल नहीं हुआ",
    reasons: { none: "Razorpay ने कारण नहीं बताया", other: "दूसरे कारण", payment_failed: "बैंक ने मना किया", insufficient_funds: "खाते में पैसा कम था", payment_cancelled: "भुगतान करने वाले ने रद्द किया", payment_timed_out: "भुगतान में बहुत देर हुई", incorrect_otp: "ग़लत OTP", card_expired: "कार्ड की अवधि समाप्त", card_declined: "कार्ड अस्वीकार हुआ", bank_technical_error: "बैंक में तकनीकी समस्या", gateway_technical_error: "बैंकों के बीच तकनीकी समस्या", payment_risk_check_failed: "जोखिम की जाँच में रोका गया", server_error: "Razorpay में समस्या", incorrect_cvv: "ग़लत CVV", incorrect_pin: "ग़लत PIN", transaction_limit_exceeded: "भुगतान करने वाले की सीमा से अधिक" },
  },
  // --- admin_users ---
  users: {},
  // --- admin_review ---
  review: {},
  // --- admin_rates ---
  rates: {},
  // --- admin_books ---
  books: {},
  // --- admin_log ---
  log: {},
  // --- admin_rules ---
  rules: {},
  // --- admin_network ---
  network: {},
  // --- end ---
};
