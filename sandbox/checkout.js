/* window.Razorpay as Razorpay's checkout.js gives it, for the sandbox: the same options, handler and events. */
(function () {
  "use strict";
  var script = document.currentScript;
  // .../sandbox/v1/checkout.js -> .../sandbox
  var base = script.src.split("?")[0].replace(/\/v1\/checkout\.js$/, "");
  var baseOrigin = new URL(base).origin;

  function Razorpay(options) {
    if (!(this instanceof Razorpay)) return new Razorpay(options);
    if (!options || !options.key) throw new Error("No key passed");
    this.options = options;
    this._listeners = {};
    this._failures = 0;
    this._frame = null;
  }

  Razorpay.prototype.on = function (event, listener) {
    (this._listeners[event] = this._listeners[event] || []).push(listener);
    return this;
  };

  Razorpay.prototype.off = function (event, listener) {
    this._listeners[event] = (this._listeners[event] || []).filter(function (known) {
      return listener && known !== listener;
    });
    return this;
  };

  Razorpay.prototype._emit = function (event, payload) {
    (this._listeners[event] || []).slice().forEach(function (listener) { listener(payload); });
  };

  Razorpay.prototype.open = function () {
    if (this._frame) return this;
    var self = this, options = this.options, modal = options.modal || {}, theme = options.theme || {};
    var query = new URLSearchParams({
      embed: "1",
      key: options.key,
      origin: window.location.origin,
      name: options.name || "",
      description: options.description || "",
      color: theme.color || ""
    });
    var backdrop = document.createElement("div");
    backdrop.style.cssText = "position:fixed;inset:0;z-index:2147483647;background:" +
      (theme.backdrop_color || "rgba(0,0,0,.6)");
    backdrop.addEventListener("click", function () { if (modal.backdropclose) self._dismiss(); });
    var frame = document.createElement("iframe");
    frame.title = "Razorpay sandbox";
    frame.style.cssText = "position:absolute;inset:0;margin:auto;width:min(30rem,100%);height:min(46rem,100%);border:0";
    frame.src = base + "/pay/" + encodeURIComponent(options.order_id || "-") + "?" + query;
    backdrop.appendChild(frame);
    document.body.appendChild(backdrop);
    this._backdrop = backdrop;
    this._frame = frame;
    this._onMessage = function (message) {
      if (message.source !== frame.contentWindow || message.origin !== baseOrigin) return;
      if (!message.data || message.data.source !== "razorpay-sandbox") return;
      self._hear(message.data.type, message.data.data);
    };
    this._onKey = function (event) { if (event.key === "Escape") self._escape(); };
    window.addEventListener("message", this._onMessage);
    window.addEventListener("keydown", this._onKey);
    if (options.timeout) this._timer = setTimeout(function () { self._leave("timeout"); }, options.timeout * 1000);
    return this;
  };

  Razorpay.prototype._hear = function (type, data) {
    if (type === "success") {
      this.close();
      this._succeed(data);
    } else if (type === "failed") {
      this._failures += 1;
      this._emit("payment.failed", data);
      var retry = this.options.retry;
      var most = retry === false || (retry && retry.enabled === false) ? 0 : (retry && retry.max_count);
      if (typeof most === "number" && this._failures > most) this.close();
    } else if (type === "dismiss") {
      this._dismiss();
    } else if (type === "escape") {
      this._escape();
    }
  };

  Razorpay.prototype._succeed = function (response) {
    var options = this.options;
    if (options.callback_url && (options.redirect || typeof options.handler !== "function")) {
      var form = document.createElement("form");
      form.method = "POST";
      form.action = options.callback_url;
      Object.keys(response).forEach(function (name) {
        var input = document.createElement("input");
        input.type = "hidden";
        input.name = name;
        input.value = response[name];
        form.appendChild(input);
      });
      document.body.appendChild(form);
      form.submit();
    } else if (typeof options.handler === "function") {
      options.handler(response);
    }
  };

  Razorpay.prototype._escape = function () {
    if ((this.options.modal || {}).escape !== false) this._dismiss();
  };

  Razorpay.prototype._dismiss = function () {
    var modal = this.options.modal || {};
    if (modal.confirm_close && !window.confirm("Leave without paying?")) return;
    this._leave();
  };

  Razorpay.prototype._leave = function (reason) {
    if (!this._frame) return;
    this.close();
    var modal = this.options.modal || {};
    if (typeof modal.ondismiss === "function") modal.ondismiss(reason);
  };

  /* Closes without a word: ondismiss is for a customer who leaves. */
  Razorpay.prototype.close = function () {
    if (!this._frame) return;
    clearTimeout(this._timer);
    window.removeEventListener("message", this._onMessage);
    window.removeEventListener("keydown", this._onKey);
    this._backdrop.remove();
    this._backdrop = this._frame = null;
  };

  window.Razorpay = Razorpay;
})();
