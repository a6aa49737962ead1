// @ts-check
/** The texts in English. Each page has its section; what several pages say stands in the first ones. */

export default {
  product: "Wallet",
  actions: { again: "Try again", cancel: "Cancel", close: "Close", log_in: "Log in", log_out: "Log out", recharge: "Recharge", reload: "Load the page again", csv: "Download CSV", save: "Save", all: "All", show: "Show", back: "Back" },
  balance: { balance: "Balance", held: "Reserved for calls", available: "Available", due: "Due" },
  banner: { sandbox: "Sandbox: no real money is paid.", test: "Razorpay's test mode: no real money is paid.", simulator: "The telephone network is a simulator: nobody is called." },
  chart: { as_table: "Show as table", as_chart: "Show as chart", when: "When", most: "most: {most}", summary: "{title}, {from} to {to}; at most {most}" },
  fields: { name: "Name", email: "E-mail", password: "Password", password_hint: "At least 8 characters, not one of the most common ones.", phone_optional: "Telephone (optional)", totp: "Code of your second factor", totp_hint: "From your authenticator app, or a recovery code.", reason: "Reason", reason_hint: "It is kept in the audit log.", reason_missing: "Say why first.", from: "From", to: "To" },
  roles: { user: "User", operator: "Operator", admin: "Admin" },
  themes: { auto: "System", light: "Light", dark: "Dark" },
  settings: { language: "Language", theme: "Light or dark" },
  states: { loading: "Loading", working: "Working …", request: "Request {id}: tell it to support.", broken: "This page broke. Nothing was changed by that.", nowhere: "There is no page at this address." },
  table: { pages: "Pages", newest: "Newest", newer: "Newer", older: "Older" },
  nav: { label: "Main", skip: "Skip to the page", home: "Home", calls: "Calls", campaigns: "Campaigns", transactions: "Transactions", payments: "Payments", do_not_call: "Do not call", account: "Account", more: "More", overview: "Overview", users: "Users", review: "Review", rates: "Rates", books: "Audit", complaints: "Complaints", rules: "Calling rules", network: "Network", log: "Audit log" },
  notices: {
    out_of_touch: "Out of touch with the service: what you see may be old. It is tried again by itself.",
    frozen: "This wallet is frozen: no calls until an admin unfreezes it. Money can still be added.",
    low: "{available} is left. Below {minimum} no call can start.",
    empty: "The wallet is empty. Calls and campaigns wait for a recharge.",
  },
  problems: {
    unreachable: "The service was not reached. Nothing is known about what you asked for; try again.",
    unavailable: "The service cannot say right now. Try again in a moment; nothing was lost.",
    too_many: "Too many tries. Wait {seconds} seconds, then try again.",
    invalid_credentials: "E-mail or password is wrong.",
    second_factor_required: "That code is not right. Codes change every 30 seconds.",
    email_taken: "There is an account with this e-mail already: log in instead.",
    account_disabled: "This account is disabled. Ask support.",
  },
  door: { headline: "Calls that pay for themselves, to the paisa.", story: "Recharge, call, and see every rupee: what was reserved, what was charged, and why.", small: "Prepaid. No call can spend what is not there." },
  log_in: { title: "Log in", new_here: "New here?", create: "Create an account", expired: "Your session has ended", expired_why: "Log in again; what is on the page stays as it is.", other_account: "Use another account" },
  sign_up: { title: "Create an account", create: "Create account", begins: "Your wallet begins with ₹0.00.", have_one: "I have an account" },
  search: { open: "Search", title: "Search", label: "Id or telephone number", hint: "An id such as call_…, cmp_…, txn_…, order_…, or a telephone number.", hint_staff: "An id such as call_…, usr_…, order_…, a telephone number, or a name or e-mail.", call: "Call {text}", campaign: "Campaign {text}", transaction: "Transaction {text}", order: "Order {text}", payment: "Payment {text}", number: "What happened to {text}", user: "User {text}", users: "Users like “{text}”" },
  shortcuts: { title: "Keyboard shortcuts" },
  recharge: {
    title: "Recharge the wallet", missing: "{amount} is missing: {available} is available. After the payment it goes on with what you were doing.",
    amounts: "Amounts", amount: "Amount in rupees", type_amount: "Type an amount such as 1,500 or 99.50.", pay: "Pay {amount} with Razorpay", where: "The payment opens on its own page. Your money is in the wallet as soon as Razorpay has confirmed it.",
    waiting_title: "Waiting for {amount}", waiting: "Pay on the page that has opened. This one goes on by itself.", blocked: "Your browser did not open the payment page. Open it here:", open_page: "Open the payment page", other_amount: "Another amount", by_itself: "You may close this: a payment is added to the wallet by itself.", failed: "The payment failed. Nothing was taken; try again.", arrived: "{amount} is in your wallet.",
  },
  pay: {
    title: "Recharge by {amount}", pay: "Pay {amount}", loading: "Opening the payment …", paid: "Paid. {amount} is in the wallet.", close: "You may close this page.", pending: "Razorpay has not confirmed the payment yet. It is added by itself; this page keeps looking.", dismissed: "The payment was closed. Nothing was taken.", failed: "The payment failed: {reason}", unknown: "There is no order at this address.", expired: "This order cannot be paid any more. Make a new one in your wallet.", back: "To the wallet", script: "Razorpay's page could not be loaded. Check the connection, then try again.",
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
    period: "Period", ranges: { 7: "7 days", 30: "30 days", 90: "Quarter", own: "Own dates" }, range: "{from} to {to}", in_range: "From {range}",
    dates_missing: "Choose both days.", dates_order: "The first day must not be after the last.", dates_long: "At most {days} days.",
    csv: "CSV of the days", compared: "Compared with {range}.", not_over: "Today is not over yet.",
    before_unknown: "the period before is not known", as_before: "as in the period before", none_before: "none in the period before", from_before: "from {before}",
    total: "Total wallet balance, now", wallets: { one: "In the wallet of 1 user.", other: "In the wallets of {count} users." },
    now: "Now", waits: "waits for you", nows: { live: "Live calls", in_review: "Payments in review", low: "Users with a low balance", adjustments: "Adjustments waiting for a second admin" },
    recharged: "Recharged", recharges: "{count} recharges", average: "Average recharge", no_average: "There is nothing to compare.",
    cost: "Call cost", calls: "{calls} calls, {answered} answered", a_call: "{cost} an answered call",
    failed: "Failed payments", failed_share: "{share} of all attempts",
    cost_a_day: "Call cost a day", cost_now: "Charged", cost_before: "In the period before", no_calls: "No calls in this period", no_calls_hint: "Choose other dates.",
    payments_a_day: "Payments a day", paid: "Paid", failed_ones: "Failed", no_payments: "No payments in this period", no_payments_hint: "Choose other dates.",
    by_reason: "Why payments failed", reason: "Reason", share: "Share", payments: "Payments", before: "Before", none_failed: "No payment failed in this period",
    reasons: { none: "Razorpay gave no reason", other: "Other reasons", payment_failed: "Declined by the bank", insufficient_funds: "Not enough money in the account", payment_cancelled: "Cancelled by the payer", payment_timed_out: "The payer took too long", incorrect_otp: "Wrong one-time password", card_expired: "The card has expired", card_declined: "The card was declined", bank_technical_error: "Trouble at the bank", gateway_technical_error: "Trouble between the banks", payment_risk_check_failed: "Stopped by a check of the risk", server_error: "Trouble at Razorpay", incorrect_cvv: "Wrong CVV", incorrect_pin: "Wrong PIN", transaction_limit_exceeded: "Above the payer's limit" },
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
