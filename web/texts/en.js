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
  users: {
    user: "User", you: "you", role: "Role", state: "State", phone: "Telephone", since: "Since", search: "Search users", search_hint: "E-mail, name, telephone or id", clear: "Clear the search", filter: "Show",
    filters: { all: "All", low: "Low balance", enough: "Enough balance", waiting: "Waiting adjustments" },
    disabled: "Disabled", enabled: "Enabled", frozen: "Frozen", low: "Low balance", owes: "Owes {amount}", own_rate: "Own rate a minute", no_own_rate: "none",
    none: "No users yet", none_hint: "Who signs up, or is created here, stands in this list.", none_found: "Nobody is found", none_found_hint: "Search for a part of the e-mail, the name or the telephone, or another filter.", show_all: "Show all users",
    about: "Account", account: "Account", second_factor: "Second factor", has_factor: "On", has_no_factor: "Off",
    is_disabled: "Disabled since {when}: nobody can log in, no calls. An admin can enable it again.", is_frozen: "The wallet is frozen: no calls until an admin unfreezes it. Money can still be added.", frozen_why: "{reason} ({when})", is_due: "{due} is due: the next credit pays it first.", is_new: "Has to change the one-time password at the next log-in.",
    counts: "{refunds} refunds, {disputes} disputes.",
    role_hints: { user: "Sees and does what is their own.", operator: "Sees what is everybody's, downloads it, and changes nothing.", admin: "Sees everything and decides: money, users, rates, rules." },
    types: { credit: "Credit", debit: "Debit" },
    categories: { recharge: "Recharge", call_charge: "Call", refund: "Refund", refund_reversal: "Refund taken back", adjustment: "Adjustment", due_recovery: "Due paid" },
    call_states: { created: "Waits for its turn", submitting: "Being placed", unknown: "Not known", queued: "Queued", initiated: "Dialling", ringing: "Ringing", in_progress: "Talking", completed: "Completed", busy: "Busy", no_answer: "No answer", failed: "Failed", canceled: "Canceled" },
    campaign_states: { draft: "Draft", scheduled: "Scheduled", running: "Running", paused: "Paused", completed: "Completed", canceled: "Canceled" },
    order_states: { created: "Not paid yet", attempted: "Attempted", paid: "Paid" },
    latest: { transactions: "Latest transactions", calls: "Latest calls", campaigns: "Latest campaigns", orders: "Latest payments", complaints: "Latest complaints", no_transactions: "No transactions yet", no_calls: "No calls yet", no_campaigns: "No campaigns yet", no_orders: "No payments yet", no_complaints: "No complaints", what: "What", amount: "Amount", after: "Balance after", call: "Call to", cost: "Cost", campaign: "Campaign", order: "Order", complaint: "About the number", source: "Passed on by" },
    create: { open_form: "Create a user", title: "Create a user", password: "A one-time password is made. It is shown once, and changed at the first log-in.", missing: "E-mail and name are needed.", submit: "Create {role}", done: "The account is there", one_time: "One-time password", once: "It is shown only now. Hand it over by another way than the e-mail address.", copy: "Copy the password", copied: "Copied", open: "Open the account", noted: "I have noted it" },
    adjust: { title: "Adjust the balance", type: "Credit or debit", too_much: "Only {available} is available.", due_first: "{due} that is due is paid first.", reason_hint: "The owner of the wallet reads it, and it is kept in the audit log.", second: "Large amounts wait for a second admin before they are posted.", done: "Done: the balance is {balance}.", waits: "{deed}: it waits for a second admin. Nothing is posted until another admin confirms it.", see: "See what waits" },
    rate: { title: "Own rate", hint: "For calls placed from now on; it comes before the rate card and the single rate.", label: "Rupees a minute", example: "30 seconds would cost {cost}.", missing: "Type a rate such as 7.50.", set: "Set {rate} a minute", remove: "Take the own rate away", removed: "The own rate is gone; the rate card holds.", done: "The own rate is {rate} a minute.", a_minute: "{rate} a minute" },
    limits: { title: "Limits of calls", limit: "Limit", in_force: "In force", from: "Set by", of_settings: "the settings", own: "an admin", none: "no limit", names: { concurrent_calls: "Calls at once", calls_per_minute: "Calls a minute", calls_per_day: "Calls a day", daily_spend_cap: "Spent a day, in rupees" }, hint: "An empty field leaves it to the settings.", now: "In force: {value}", nonsense: "Not a number.", set: "Set these limits", done: "The limits are in force within a second." },
    deeds: {
      adjust: "Adjust the balance", credit_amount: "Credit {amount}", debit_amount: "Debit {amount}", rate: "Own rate", limits: "Change limits", role: "Change role",
      role_same: "No change", role_do: "Make it {role}", role_done: "The role is {role} now.",
      freeze: "Freeze", freeze_do: "Freeze the wallet", freeze_what: "No new calls, live ones are ended, campaigns wait. Money can still be added. An admin can unfreeze it.", freeze_done: "The wallet is frozen.",
      unfreeze: "Unfreeze", unfreeze_do: "Unfreeze the wallet", unfreeze_what: "Calls are possible again, and campaigns that waited go on.", unfreeze_done: "The wallet is not frozen any more.",
      disable: "Disable", disable_do: "Disable the account", disable_what: "Sessions and keys end at once, live calls are ended, nobody can log in. What is in the wallet stays. An admin can enable it again.", disable_done: "The account is disabled.",
      enable: "Enable", enable_do: "Enable the account", enable_what: "They can log in and call again.", enable_done: "The account is enabled.",
      sessions: "End all sessions", sessions_do: "End all sessions", sessions_what: "They have to log in again on every device.", sessions_done: "All sessions have ended.",
      factor: "Remove the second factor", factor_do: "Remove the second factor", factor_what: "For somebody who has lost the device and the recovery codes: make sure that it is them. Their sessions end.", factor_done: "The second factor is removed.",
      not_own: "Another admin has to do this to your account.", frozen_by_disabling: "Frozen because the account is disabled: enable it first.", no_factor: "There is none.", no_sessions: "There are none.",
    },
    waiting: { title: "Waiting for a second admin", what: "What", asked: "Asked by", decision: "Decision", confirm: "Confirm …", reject: "Reject …", own: "You asked for it: another admin decides.", own_wallet: "It is your own wallet: another admin decides.", confirm_title: "Confirm the adjustment", reject_title: "Reject the adjustment", confirm_what: "{deed}: it is posted at once, with this reason.", reject_what: "{deed}: it is not posted, and ends here.", reject_amount: "Reject {type} of {amount}", confirmed: "Posted.", rejected: "Rejected; nothing was posted.", none: "No adjustment waits", none_hint: "Large credits and debits wait here until another admin decides." },
    by_hand: { title: "Done by hand", what: "What and why", who: "Who", when: "When", transaction: "Transaction", decided: "decided by", none: "Nothing was done by hand", actions: { credit: "Credit", debit: "Debit", freeze: "Frozen", unfreeze: "Unfrozen", release: "Reservation released", reserve: "Reserved again", write_off: "Due written off", recount: "Counted again", post: "Missing credit posted", acknowledge: "Finding acknowledged" }, states: { waits_for_second_admin: "Waits for a second admin", posted: "Posted", rejected: "Rejected" } },
    sessions: { title: "Sessions", device: "Device", address: "Address", began: "Began", used: "Last used", ends: "Ends", unknown: "Unknown device", none: "Nobody is logged in with this account" },
  },
  // --- admin_review ---
  review: {},
  // --- admin_rates ---
  rates: {},
  // --- admin_books ---
  books: {},
  // --- admin_log ---
  log: {
    when: "When", who: "Who", what: "What", to_whom: "To whom or what", outcome: "Outcome", action: "Action", actor: "Who (id)", target: "To whom or what (id)", account: "E-mail that logged in", clear: "Clear the filter",
    outcomes: { asked: "Asked", done: "Done", refused: "Refused", failed: "Failed: not known" }, because: "Reason:", times: "{count} like it in a minute",
    request: "Request", path: "Asked", status: "Status", address: "Address", request_id: "Request id", key: "API key", row: "Row",
    nothing: "nothing", yes: "yes", no: "no", was: "was", is: "is now", no_change: "Nothing changed", more: "{count} more in the CSV",
    one_row: "What was asked for and what became of it are one row here, and two in the CSV.", none: "Nothing has happened yet", none_found: "No row fits this filter",
    roles: { nobody: "Nobody", system: "The service" },
    kinds: { user: "User", account: "Account", call: "Call", campaign: "Campaign", order: "Order", payment: "Payment", refund: "Refund", dispute: "Dispute", complaint: "Complaint", calling_rules: "Calling rules", rate_card: "Rate card", webhook: "Webhook", route: "Address of the API" },
    fields: { role: "Role", disabled: "Disabled", frozen: "Frozen", reason: "Reason", balance: "Balance", amount: "Amount", rate_per_minute: "Rate a minute", transaction_id: "Transaction", adjustment_id: "Adjustment", type: "Type", status: "Status", email: "E-mail", version: "Version", limits: "Limits", concurrent_calls: "Calls at once", calls_per_minute: "Calls a minute", calls_per_day: "Calls a day", spend_cap: "Spent a day", hours: "Hours", holidays: "Holidays", start: "from", end: "to", promotional: "Promotional", service: "Service", transactional: "Transactional", collection: "Collection", note: "Note" },
    actions: { log_in: "Log-in", log_out: "Log-out", sign_up: "Sign-up", change_password: "Password changed", user_create: "User created", user_change: "User changed", wallet_freeze: "Wallet frozen", wallet_unfreeze: "Wallet unfrozen", own_rate_set: "Own rate set", adjustment_post: "Balance adjusted", adjustment_propose: "Adjustment asked for", adjustment_confirm: "Adjustment confirmed", adjustment_reject: "Adjustment rejected", rate_set: "Rate set", rate_card_create: "Rate card stored", rate_card_activate: "Rate card activated", calling_rules_change: "Calling rules changed", complaint_record: "Complaint recorded", payment_resolve: "Payment decided", call_resolve: "Call decided", refund_create: "Refund asked for", refund_resolve: "Refund decided", dispute_resolve: "Dispute decided", webhook_replay: "Webhook replayed", reconciliation_run: "Reconciled", audit_repair: "Repaired after the audit" },
  },
  // --- admin_rules ---
  rules: {
    open: "Change the rules …", off: "Calling hours are not kept here", off_hint: "CALLING_HOURS is off: a development service calls at any hour. The rules below hold as soon as it is on.",
    in_force: "In force", version: "Version {version}", purpose: "Purpose", hours: "Hours", in_the_day: "Within the day", law: "Never wider than", from_to: "{start} to {end}", ring: "Hours are those where the person lives who is called. A call begins at the latest {ring} seconds before the end, because it rings first.",
    purposes: { promotional: "Promotional", service: "Service", transactional: "Transactional", collection: "Collection" },
    holidays: "Holidays", for_all: "For all purposes", past: "past", no_holidays: "No holidays", no_holidays_hint: "People are called on every day of the year.",
    versions: "Versions", which: "Version", who: "Who and why", difference: "Difference to the version before", built_in: "Built in", first: "The first one: before it, the hours held that are built in", earlier_unknown: "The version before is not shown any more",
    change: "Change the rules: version {version}", start: "From", end: "Until", order: "The start must be before the end.", too_wide: "Must be within {start} to {end}.", widest: "Within {start} to {end}, which nothing widens.",
    day: "Day", name: "Name of the day", add: "Add the day", remove: "Remove {day}", day_missing: "Choose a day and name it.", purpose_missing: "Choose a purpose.", day_twice: "This day is in the list.",
    what_changes: "What changes", note_hint: "It stands beside the version, and in the audit log.", in_force_hint: "In force for every campaign within a second or so. Running campaigns keep the hours they started with where those are narrower.", hours_wrong: "Some hours cannot be.", same: "Nothing has changed yet.", put: "Put version {version} in force", done: "Version {version} is in force.",
  },
  // --- admin_network ---
  network: {
    live: "Live calls", talking: "{count} talking", rate: "New calls a second", placed: "{count} in the last minute", per_user: "Calls at once, a user", per_user_hint: "unless an admin has set another limit", breakers: "Out of service", breakers_hint: "networks and Razorpay",
    recorded: "From what is recorded: this page asks nothing of the networks. It is read again every 3 seconds.",
    names: { simulator: "Simulator", twilio: "Twilio", plivo: "Plivo", exotel: "Exotel" }, chosen: "New calls go here",
    states: { accepting: "Takes calls", resting: "No calls go there", trying: "Being tried", answering: "Answers" },
    reasons: { provider_unreachable: "The network is not reached", provider_does_not_answer: "The network does not answer", provider_credentials_refused: "The network refuses our credentials", provider_account_suspended: "The network has suspended our account", provider_misconfigured: "The network does not know our account or caller id", provider_country_not_enabled: "Our account may not call this country", provider_busy: "The network is busy" },
    since: "Since {when}.", until: "At {when} one call tries it; when that is taken, calls go there again.", trying: "The next call tries it; when that is taken, calls go there again.",
    ends_by_itself: "It ends by itself; until then single calls are refused and campaigns wait.", ends_by_you: "It ends when the account is put in order at the network; until then single calls are refused and campaigns wait.",
    a_second: "New calls a second", at_once: "Calls at once", of: "{value} of {most}", no_limit: "No limit", failures: "Failures in the last 30 seconds",
    modes: { sandbox: "Sandbox", test: "Test mode", live: "Live" }, razorpay_rests: "Razorpay has not answered for a while: requests fail at once", razorpay_again: "It is tried again in {wait}, and it ends with the first answer. What was paid is added by itself.", razorpay_answers: "As the process that answered this page knows it.", requests: "Requests at most", a_second_most: "{most} a second", processes: "Processes that share them",
  },
  // --- admin_complaints ---
  complaints: {
    record: "Record a complaint", ten_days: "In the last ten days", of_limit: "{count} of {limit}", in_ten_days: "{count} of {limit} in ten days", levels: { ok: "In order", warning: "Warning", limit_reached: "Limit reached" },
    follows_from: { ok: "{left} more within ten days and the networks act against the sender. A warning comes at {warning}.", warning: "{left} more within ten days and the networks act against the sender. Look at what these calls have in common: list, consent, purpose, hours.", limit_reached: "At {limit} the networks act against the sender, within 5 days: first outgoing calls are barred for 15 days, then all numbers are taken for up to a year. Stop the campaigns concerned and check their lists." },
    of_all: "Of everybody: the networks know only the platform's numbers.", of_user: "Of this user alone.",
    number: "Number", whose: "Whose call", received: "Received", source: "Passed on by", text: "What was said", by: "Recorded by", recorded: "Recorded", platform: "The platform", standing_then: "Now in ten days",
    whose_field: "User (id)", whose_hint: "Whose call it was. Empty: the platform's.", everybodys: "Everybody's", source_hint: "Such as the network, TRAI's app, the person, a regulator.", follows: "The number is not called any more from now on, and what is known about it is kept with the complaint.", missing: "Number and source are needed.", submit: "Record it and stop calling the number", done: "Recorded; the number is on the do-not-call list.",
    none: "No complaints", none_hint: "What the networks, TRAI's app or a person pass on is recorded here.", one: "Complaint", listed: "The number is on the do-not-call list. Below is what was known when the complaint was recorded.",
    lists: { own: "The user's own", platform: "The platform's" },
    evidence: { calls: "Calls to the number", campaigns: "Campaigns it was in", do_not_call: "On do-not-call lists", scrub_verdicts: "Checks against the register", none: "None.", call: "Call", purpose: "Purpose", row: "Row of the list", consent: "Consent in the list", no_consent: "none stood there", list: "List", added: "Since", verdict: "Verdict", allowed: "May be called", refused: "May not be called", checked: "Checked", raw: "All of it, as it is kept" },
  },
  // --- end ---
};
