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
  users: {
    user: "उपयोगकर्ता", you: "आप", role: "भूमिका", state: "स्थिति", phone: "टेलीफ़ोन", since: "कब से", search: "उपयोगकर्ता खोजें", search_hint: "ई-मेल, नाम, टेलीफ़ोन या id", clear: "खोज हटाएँ", filter: "दिखाएँ",
    filters: { all: "सभी", low: "कम राशि", enough: "पर्याप्त राशि", waiting: "इंतज़ार करते समायोजन" },
    disabled: "बंद", enabled: "चालू", frozen: "रोका गया", low: "कम राशि", owes: "{amount} बकाया", own_rate: "अपनी दर प्रति मिनट", no_own_rate: "नहीं",
    none: "अभी कोई उपयोगकर्ता नहीं", none_hint: "जो साइन अप करता है या यहाँ बनाया जाता है, वह इस सूची में आता है।", none_found: "कोई नहीं मिला", none_found_hint: "ई-मेल, नाम या टेलीफ़ोन का कोई हिस्सा खोजें, या दूसरा फ़िल्टर चुनें।", show_all: "सभी उपयोगकर्ता दिखाएँ",
    about: "खाता", account: "खाता", second_factor: "दूसरा फ़ैक्टर", has_factor: "चालू", has_no_factor: "बंद",
    is_disabled: "{when} से बंद: कोई लॉग इन नहीं कर सकता, कोई कॉल नहीं। एडमिन इसे फिर चालू कर सकता है।", is_frozen: "वॉलेट रोका गया है: एडमिन के खोलने तक कोई कॉल नहीं। पैसा फिर भी जोड़ा जा सकता है।", frozen_why: "{reason} ({when})", is_due: "{due} बकाया है: अगला क्रेडिट पहले उसे चुकाता है।", is_new: "अगले लॉग इन पर एक-बार का पासवर्ड बदलना होगा।",
    counts: "{refunds} रिफ़ंड, {disputes} विवाद।",
    role_hints: { user: "केवल अपना देखता और करता है।", operator: "सबका देखता है, डाउनलोड करता है, और कुछ नहीं बदलता।", admin: "सब कुछ देखता है और फ़ैसला करता है: पैसा, उपयोगकर्ता, दरें, नियम।" },
    types: { credit: "क्रेडिट", debit: "डेबिट" },
    categories: { recharge: "रिचार्ज", call_charge: "कॉल", refund: "रिफ़ंड", refund_reversal: "रिफ़ंड वापस लिया गया", adjustment: "समायोजन", due_recovery: "बकाया चुकाया" },
    call_states: { created: "बारी का इंतज़ार", submitting: "लगाई जा रही है", unknown: "पता नहीं", queued: "क़तार में", initiated: "डायल हो रही है", ringing: "घंटी बज रही है", in_progress: "बातचीत जारी", completed: "पूरी हुई", busy: "व्यस्त", no_answer: "जवाब नहीं", failed: "असफल", canceled: "रद्द" },
    campaign_states: { draft: "मसौदा", scheduled: "निर्धारित", running: "चल रहा है", paused: "रुका हुआ", completed: "पूरा", canceled: "रद्द" },
    order_states: { created: "अभी भुगतान नहीं", attempted: "कोशिश हुई", paid: "भुगतान हुआ" },
    latest: { transactions: "हाल के लेन-देन", calls: "हाल की कॉल", campaigns: "हाल के अभियान", orders: "हाल के भुगतान", complaints: "हाल की शिकायतें", no_transactions: "अभी कोई लेन-देन नहीं", no_calls: "अभी कोई कॉल नहीं", no_campaigns: "अभी कोई अभियान नहीं", no_orders: "अभी कोई भुगतान नहीं", no_complaints: "कोई शिकायत नहीं", what: "क्या", amount: "राशि", after: "बाद में शेष", call: "किसे कॉल", cost: "ख़र्च", campaign: "अभियान", order: "ऑर्डर", complaint: "किस नंबर के बारे में", source: "किसने बताई" },
    create: { open_form: "उपयोगकर्ता बनाएँ", title: "उपयोगकर्ता बनाएँ", password: "एक-बार का पासवर्ड बनता है। वह एक ही बार दिखता है और पहले लॉग इन पर बदला जाता है।", missing: "ई-मेल और नाम चाहिए।", submit: "{role} बनाएँ", done: "खाता बन गया", one_time: "एक-बार का पासवर्ड", once: "यह केवल अभी दिख रहा है। इसे ई-मेल के अलावा किसी और तरीक़े से दें।", copy: "पासवर्ड कॉपी करें", copied: "कॉपी हुआ", open: "खाता खोलें", noted: "मैंने लिख लिया" },
    adjust: { title: "शेष राशि समायोजित करें", type: "क्रेडिट या डेबिट", too_much: "केवल {available} उपलब्ध है।", due_first: "{due} का बकाया पहले चुकाया जाता है।", reason_hint: "वॉलेट का मालिक इसे पढ़ता है, और यह ऑडिट लॉग में रहता है।", second: "बड़ी राशि दर्ज होने से पहले दूसरे एडमिन का इंतज़ार करती है।", done: "हो गया: शेष राशि {balance} है।", waits: "{deed}: यह दूसरे एडमिन का इंतज़ार कर रहा है। उसकी पुष्टि तक कुछ दर्ज नहीं होता।", see: "देखें क्या इंतज़ार में है" },
    rate: { title: "अपनी दर", hint: "अब से लगने वाली कॉल के लिए; यह रेट कार्ड और एकल दर से पहले आती है।", label: "रुपये प्रति मिनट", example: "30 सेकंड का ख़र्च {cost} होगा।", missing: "7.50 जैसी दर लिखें।", set: "{rate} प्रति मिनट रखें", remove: "अपनी दर हटाएँ", removed: "अपनी दर हटा दी गई; रेट कार्ड लागू है।", done: "अपनी दर {rate} प्रति मिनट है।", a_minute: "{rate} प्रति मिनट" },
    limits: { title: "कॉल की सीमाएँ", limit: "सीमा", in_force: "लागू", from: "किसने रखी", of_settings: "सेटिंग", own: "एडमिन", none: "कोई सीमा नहीं", names: { concurrent_calls: "एक साथ कॉल", calls_per_minute: "प्रति मिनट कॉल", calls_per_day: "प्रतिदिन कॉल", daily_spend_cap: "प्रतिदिन ख़र्च, रुपये में" }, hint: "ख़ाली छोड़ने पर सेटिंग लागू रहती है।", now: "लागू: {value}", nonsense: "यह संख्या नहीं है।", set: "ये सीमाएँ रखें", done: "सीमाएँ एक सेकंड में लागू हो जाएँगी।" },
    deeds: {
      adjust: "शेष राशि समायोजित करें", credit_amount: "{amount} क्रेडिट करें", debit_amount: "{amount} डेबिट करें", rate: "अपनी दर", limits: "सीमाएँ बदलें", role: "भूमिका बदलें",
      role_same: "कोई बदलाव नहीं", role_do: "{role} बनाएँ", role_done: "भूमिका अब {role} है।",
      freeze: "रोकें", freeze_do: "वॉलेट रोकें", freeze_what: "नई कॉल नहीं, चल रही कॉल काटी जाती हैं, अभियान इंतज़ार करते हैं। पैसा फिर भी जोड़ा जा सकता है। एडमिन इसे खोल सकता है।", freeze_done: "वॉलेट रोका गया।",
      unfreeze: "खोलें", unfreeze_do: "वॉलेट खोलें", unfreeze_what: "कॉल फिर संभव हैं, और रुके अभियान आगे बढ़ते हैं।", unfreeze_done: "वॉलेट अब रुका हुआ नहीं है।",
      disable: "बंद करें", disable_do: "खाता बंद करें", disable_what: "सत्र और कुंजियाँ तुरंत समाप्त होती हैं, चल रही कॉल काटी जाती हैं, कोई लॉग इन नहीं कर सकता। वॉलेट की राशि बनी रहती है। एडमिन इसे फिर चालू कर सकता है।", disable_done: "खाता बंद है।",
      enable: "चालू करें", enable_do: "खाता चालू करें", enable_what: "वे फिर लॉग इन और कॉल कर सकते हैं।", enable_done: "खाता चालू है।",
      sessions: "सभी सत्र समाप्त करें", sessions_do: "सभी सत्र समाप्त करें", sessions_what: "उन्हें हर डिवाइस पर फिर लॉग इन करना होगा।", sessions_done: "सभी सत्र समाप्त हुए।",
      factor: "दूसरा फ़ैक्टर हटाएँ", factor_do: "दूसरा फ़ैक्टर हटाएँ", factor_what: "उनके लिए जिनका डिवाइस और रिकवरी कोड खो गए हैं: पक्का करें कि वही व्यक्ति है। उनके सत्र समाप्त होते हैं।", factor_done: "दूसरा फ़ैक्टर हटा दिया गया।",
      not_own: "आपके खाते पर यह दूसरा एडमिन करता है।", frozen_by_disabling: "खाता बंद होने से रुका है: पहले उसे चालू करें।", no_factor: "है ही नहीं।", no_sessions: "कोई नहीं है।",
    },
    waiting: { title: "दूसरे एडमिन का इंतज़ार", what: "क्या", asked: "किसने कहा", decision: "फ़ैसला", confirm: "पुष्टि करें …", reject: "मना करें …", own: "आपने कहा था: फ़ैसला दूसरा एडमिन करता है।", own_wallet: "यह आपका अपना वॉलेट है: फ़ैसला दूसरा एडमिन करता है।", confirm_title: "समायोजन की पुष्टि करें", reject_title: "समायोजन को मना करें", confirm_what: "{deed}: इस कारण के साथ तुरंत दर्ज होता है।", reject_what: "{deed}: दर्ज नहीं होता, और यहीं समाप्त होता है।", reject_amount: "{amount} के {type} को मना करें", confirmed: "दर्ज हुआ।", rejected: "मना किया गया; कुछ दर्ज नहीं हुआ।", none: "कोई समायोजन इंतज़ार में नहीं", none_hint: "बड़े क्रेडिट और डेबिट यहाँ दूसरे एडमिन के फ़ैसले का इंतज़ार करते हैं।" },
    by_hand: { title: "हाथ से किया गया", what: "क्या और क्यों", who: "किसने", when: "कब", transaction: "लेन-देन", decided: "फ़ैसला", none: "हाथ से कुछ नहीं किया गया", actions: { credit: "क्रेडिट", debit: "डेबिट", freeze: "रोका गया", unfreeze: "खोला गया", release: "आरक्षण छोड़ा गया", reserve: "फिर आरक्षित", write_off: "बकाया माफ़", recount: "फिर गिना गया", post: "छूटा क्रेडिट दर्ज", acknowledge: "निष्कर्ष स्वीकार" }, states: { waits_for_second_admin: "दूसरे एडमिन का इंतज़ार", posted: "दर्ज", rejected: "मना किया गया" } },
    sessions: { title: "सत्र", device: "डिवाइस", address: "पता", began: "शुरू", used: "आख़िरी उपयोग", ends: "समाप्ति", unknown: "अज्ञात डिवाइस", none: "इस खाते से कोई लॉग इन नहीं है" },
  },
  // --- admin_review ---
  review: {},
  // --- admin_rates ---
  rates: {},
  // --- admin_books ---
  books: {},
  // --- admin_log ---
  log: {
    when: "कब", who: "किसने", what: "क्या", to_whom: "किस पर", outcome: "परिणाम", action: "काम", actor: "किसने (id)", target: "किस पर (id)", account: "लॉग इन का ई-मेल", clear: "फ़िल्टर हटाएँ",
    outcomes: { asked: "माँगा गया", done: "हुआ", refused: "मना किया गया", failed: "असफल: पता नहीं" }, because: "कारण:", times: "एक मिनट में ऐसे {count}",
    request: "अनुरोध", path: "क्या माँगा", status: "स्थिति", address: "पता", request_id: "अनुरोध id", key: "API कुंजी", row: "पंक्ति",
    nothing: "कुछ नहीं", yes: "हाँ", no: "नहीं", was: "पहले", is: "अब", no_change: "कुछ नहीं बदला", more: "CSV में {count} और",
    one_row: "जो माँगा गया और उसका जो हुआ, यहाँ एक पंक्ति है, CSV में दो।", none: "अभी कुछ नहीं हुआ", none_found: "इस फ़िल्टर में कोई पंक्ति नहीं",
    roles: { nobody: "कोई नहीं", system: "सेवा" },
    kinds: { user: "उपयोगकर्ता", account: "खाता", call: "कॉल", campaign: "अभियान", order: "ऑर्डर", payment: "भुगतान", refund: "रिफ़ंड", dispute: "विवाद", complaint: "शिकायत", calling_rules: "कॉल के नियम", rate_card: "रेट कार्ड", webhook: "वेबहुक", route: "API का पता" },
    fields: { role: "भूमिका", disabled: "बंद", frozen: "रोका गया", reason: "कारण", balance: "शेष राशि", amount: "राशि", rate_per_minute: "दर प्रति मिनट", transaction_id: "लेन-देन", adjustment_id: "समायोजन", type: "प्रकार", status: "स्थिति", email: "ई-मेल", version: "संस्करण", limits: "सीमाएँ", concurrent_calls: "एक साथ कॉल", calls_per_minute: "प्रति मिनट कॉल", calls_per_day: "प्रतिदिन कॉल", spend_cap: "प्रतिदिन ख़र्च", hours: "समय", holidays: "छुट्टियाँ", start: "से", end: "तक", promotional: "प्रचार", service: "सेवा", transactional: "लेन-देन", collection: "वसूली", note: "टिप्पणी" },
    actions: { log_in: "लॉग इन", log_out: "लॉग आउट", sign_up: "साइन अप", change_password: "पासवर्ड बदला", user_create: "उपयोगकर्ता बनाया", user_change: "उपयोगकर्ता बदला", wallet_freeze: "वॉलेट रोका", wallet_unfreeze: "वॉलेट खोला", own_rate_set: "अपनी दर रखी", adjustment_post: "शेष राशि समायोजित", adjustment_propose: "समायोजन माँगा", adjustment_confirm: "समायोजन की पुष्टि", adjustment_reject: "समायोजन मना", rate_set: "दर रखी", rate_card_create: "रेट कार्ड रखा", rate_card_activate: "रेट कार्ड लागू", calling_rules_change: "कॉल के नियम बदले", complaint_record: "शिकायत दर्ज", payment_resolve: "भुगतान पर फ़ैसला", call_resolve: "कॉल पर फ़ैसला", refund_create: "रिफ़ंड माँगा", refund_resolve: "रिफ़ंड पर फ़ैसला", dispute_resolve: "विवाद पर फ़ैसला", webhook_replay: "वेबहुक फिर चलाया", reconciliation_run: "मिलान किया", audit_repair: "ऑडिट के बाद सुधारा" },
  },
  // --- admin_rules ---
  rules: {
    open: "नियम बदलें …", off: "यहाँ कॉल के समय का पालन नहीं होता", off_hint: "CALLING_HOURS बंद है: विकास सेवा किसी भी समय कॉल करती है। चालू होते ही नीचे के नियम लागू होंगे।",
    in_force: "लागू", version: "संस्करण {version}", purpose: "उद्देश्य", hours: "समय", in_the_day: "दिन में", law: "इससे चौड़ा कभी नहीं", from_to: "{start} से {end}", ring: "समय वहाँ का है जहाँ व्यक्ति रहता है। कॉल अंत से कम से कम {ring} सेकंड पहले शुरू होती है, क्योंकि पहले घंटी बजती है।",
    purposes: { promotional: "प्रचार", service: "सेवा", transactional: "लेन-देन", collection: "वसूली" },
    holidays: "छुट्टियाँ", for_all: "सभी उद्देश्यों के लिए", past: "बीत गई", no_holidays: "कोई छुट्टी नहीं", no_holidays_hint: "साल के हर दिन कॉल की जाती है।",
    versions: "संस्करण", which: "संस्करण", who: "किसने और क्यों", difference: "पिछले संस्करण से अंतर", built_in: "पहले से बना", first: "पहला: इससे पहले वे समय लागू थे जो सेवा में बने हैं", earlier_unknown: "पिछला संस्करण अब नहीं दिखता",
    change: "नियम बदलें: संस्करण {version}", start: "से", end: "तक", order: "शुरुआत अंत से पहले होनी चाहिए।", too_wide: "{start} से {end} के भीतर होना चाहिए।", widest: "{start} से {end} के भीतर, इससे चौड़ा नहीं।",
    day: "दिन", name: "दिन का नाम", add: "दिन जोड़ें", remove: "{day} हटाएँ", day_missing: "दिन चुनें और नाम दें।", purpose_missing: "उद्देश्य चुनें।", day_twice: "यह दिन सूची में है।",
    what_changes: "क्या बदलता है", note_hint: "यह संस्करण के साथ और ऑडिट लॉग में रहता है।", in_force_hint: "लगभग एक सेकंड में हर अभियान पर लागू। चल रहे अभियान अपने शुरू के समय रखते हैं जहाँ वे संकरे हैं।", hours_wrong: "कुछ समय सही नहीं हैं।", same: "अभी कुछ नहीं बदला।", put: "संस्करण {version} लागू करें", done: "संस्करण {version} लागू है।",
  },
  // --- admin_network ---
  network: {
    live: "चल रही कॉल", talking: "{count} पर बातचीत", rate: "प्रति सेकंड नई कॉल", placed: "पिछले मिनट में {count}", per_user: "एक साथ कॉल, प्रति उपयोगकर्ता", per_user_hint: "जब तक एडमिन ने दूसरी सीमा न रखी हो", breakers: "सेवा से बाहर", breakers_hint: "नेटवर्क और Razorpay",
    recorded: "जो दर्ज है उसी से: यह पेज नेटवर्क से कुछ नहीं पूछता। हर 3 सेकंड में फिर पढ़ा जाता है।",
    names: { simulator: "सिमुलेटर", twilio: "Twilio", plivo: "Plivo", exotel: "Exotel" }, chosen: "नई कॉल यहाँ जाती हैं",
    states: { accepting: "कॉल लेता है", resting: "यहाँ कोई कॉल नहीं जाती", trying: "आज़माया जा रहा है", answering: "जवाब देता है" },
    reasons: { provider_unreachable: "नेटवर्क तक पहुँच नहीं", provider_does_not_answer: "नेटवर्क जवाब नहीं देता", provider_credentials_refused: "नेटवर्क हमारी पहचान नहीं मानता", provider_account_suspended: "नेटवर्क ने हमारा खाता रोका है", provider_misconfigured: "नेटवर्क हमारा खाता या कॉलर id नहीं जानता", provider_country_not_enabled: "हमारा खाता इस देश को कॉल नहीं कर सकता", provider_busy: "नेटवर्क व्यस्त है" },
    since: "{when} से।", until: "{when} पर एक कॉल इसे आज़माती है; लग जाने पर कॉल फिर जाती हैं।", trying: "अगली कॉल इसे आज़माती है; लग जाने पर कॉल फिर जाती हैं।",
    ends_by_itself: "यह अपने आप ख़त्म होता है; तब तक अकेली कॉल मना होती हैं और अभियान इंतज़ार करते हैं।", ends_by_you: "नेटवर्क पर खाता ठीक होने पर यह ख़त्म होता है; तब तक अकेली कॉल मना होती हैं और अभियान इंतज़ार करते हैं।",
    a_second: "प्रति सेकंड नई कॉल", at_once: "एक साथ कॉल", of: "{most} में से {value}", no_limit: "कोई सीमा नहीं", failures: "पिछले 30 सेकंड की असफलताएँ",
    modes: { sandbox: "सैंडबॉक्स", test: "टेस्ट मोड", live: "लाइव" }, razorpay_rests: "Razorpay ने कुछ समय से जवाब नहीं दिया: अनुरोध तुरंत असफल होते हैं", razorpay_again: "{wait} में फिर कोशिश होती है, और पहले जवाब पर यह ख़त्म होता है। जो भुगतान हुआ वह अपने आप जुड़ता है।", razorpay_answers: "जैसा इस पेज का जवाब देने वाली प्रक्रिया जानती है।", requests: "अधिक से अधिक अनुरोध", a_second_most: "{most} प्रति सेकंड", processes: "इन्हें बाँटने वाली प्रक्रियाएँ",
  },
  // --- admin_complaints ---
  complaints: {
    record: "शिकायत दर्ज करें", ten_days: "पिछले दस दिनों में", of_limit: "{limit} में से {count}", in_ten_days: "दस दिनों में {limit} में से {count}", levels: { ok: "ठीक है", warning: "चेतावनी", limit_reached: "सीमा पूरी" },
    follows_from: { ok: "दस दिनों में {left} और होने पर नेटवर्क भेजने वाले पर कार्रवाई करते हैं। चेतावनी {warning} पर आती है।", warning: "दस दिनों में {left} और होने पर नेटवर्क भेजने वाले पर कार्रवाई करते हैं। देखें इन कॉल में क्या समान है: सूची, सहमति, उद्देश्य, समय।", limit_reached: "{limit} पर नेटवर्क 5 दिनों में कार्रवाई करते हैं: पहले 15 दिन तक बाहर जाने वाली कॉल बंद, फिर सभी नंबर एक साल तक के लिए ले लिए जाते हैं। संबंधित अभियान रोकें और उनकी सूचियाँ जाँचें।" },
    of_all: "सबकी: नेटवर्क केवल प्लेटफ़ॉर्म के नंबर जानते हैं।", of_user: "केवल इस उपयोगकर्ता की।",
    number: "नंबर", whose: "किसकी कॉल", received: "मिली", source: "किसने बताई", text: "क्या कहा गया", by: "किसने दर्ज की", recorded: "दर्ज", platform: "प्लेटफ़ॉर्म", standing_then: "दस दिनों में अब",
    whose_field: "उपयोगकर्ता (id)", whose_hint: "किसकी कॉल थी। ख़ाली: प्लेटफ़ॉर्म की।", everybodys: "सबकी", source_hint: "जैसे नेटवर्क, TRAI का ऐप, व्यक्ति, नियामक।", follows: "अब से इस नंबर पर कॉल नहीं होती, और उसके बारे में जो पता है वह शिकायत के साथ रखा जाता है।", missing: "नंबर और स्रोत चाहिए।", submit: "दर्ज करें और नंबर पर कॉल बंद करें", done: "दर्ज हुई; नंबर कॉल-न-करें सूची में है।",
    none: "कोई शिकायत नहीं", none_hint: "नेटवर्क, TRAI का ऐप या व्यक्ति जो बताते हैं वह यहाँ दर्ज होता है।", one: "शिकायत", listed: "नंबर कॉल-न-करें सूची में है। नीचे वह है जो शिकायत दर्ज होते समय पता था।",
    lists: { own: "उपयोगकर्ता की अपनी", platform: "प्लेटफ़ॉर्म की" },
    evidence: { calls: "नंबर पर कॉल", campaigns: "जिन अभियानों में था", do_not_call: "कॉल-न-करें सूचियों में", scrub_verdicts: "रजिस्टर से जाँच", none: "कुछ नहीं।", call: "कॉल", purpose: "उद्देश्य", row: "सूची की पंक्ति", consent: "सूची में सहमति", no_consent: "कुछ नहीं लिखा था", list: "सूची", added: "कब से", verdict: "निर्णय", allowed: "कॉल हो सकती है", refused: "कॉल नहीं हो सकती", checked: "जाँच", raw: "सब कुछ, जैसा रखा है" },
  },
  // --- end ---
};
