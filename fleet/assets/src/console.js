// What the console does in the browser beyond htmx. Every page works without it: it only keeps pages fresh.
(() => {
  "use strict";

  // An EventSource that lets go of its connection while the tab is hidden: browsers allow six HTTP/1.1 connections
  // a host, and six forgotten tabs must not block the seventh. When the tab is seen again it says "changed" once.
  class TabSource extends EventTarget {
    constructor(url) {
      super();
      this.url = url;
      this.readyState = EventSource.CONNECTING;
      this.onVisibility = () => (document.hidden ? this.pauseSoon() : this.resume());
      document.addEventListener("visibilitychange", this.onVisibility);
      if (!document.hidden) this.open();
    }
    open() {
      const real = new EventSource(this.url);
      this.real = real;
      real.onopen = (event) => {
        this.readyState = real.readyState;
        this.onopen?.(event);
      };
      real.onerror = (event) => {
        this.readyState = real.readyState;
        if (real.readyState === EventSource.CLOSED) document.removeEventListener("visibilitychange", this.onVisibility);
        this.onerror?.(event);
      };
      real.addEventListener("changed", (event) => this.dispatchEvent(new MessageEvent("changed", { data: event.data })));
    }
    pauseSoon() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.real?.close();
        this.real = undefined;
      }, 5000);
    }
    resume() {
      clearTimeout(this.timer);
      if (!this.real) this.open();
    }
    close() {
      clearTimeout(this.timer);
      document.removeEventListener("visibilitychange", this.onVisibility);
      this.readyState = EventSource.CLOSED;
      this.real?.close();
    }
  }
  htmx.createEventSource = (url) => new TabSource(url);

  // What a person has opened stays open when the page is renewed.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");

  const root = document.documentElement;
  document.addEventListener("htmx:sseOpen", () => root.classList.remove("is-lost"));
  document.addEventListener("htmx:sseError", () => root.classList.add("is-lost"));

  // Relative times grow old on the page; the exact time is in the attribute.
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const relative = (seconds) => {
    const span = Math.abs(seconds);
    const [size, name] = units.find(([size]) => span >= size) ?? [1, "s"];
    const text = `${Math.floor(span / size)} ${name}`;
    return seconds >= 0 ? `${text} ago` : `in ${text}`;
  };
  const refreshTimes = () => {
    const offset = Number(document.body.dataset.clockOffset ?? 0);
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const age = Date.now() + offset - Date.parse(element.dateTime);
      element.textContent = relative(age / 1000);
    }
  };
  // The server's clock rules: a laptop that is wrong must not show devices as silent.
  const serverNow = Date.parse(document.body.dataset.now ?? "");
  if (!Number.isNaN(serverNow)) document.body.dataset.clockOffset = String(serverNow - Date.now());
  setInterval(refreshTimes, 15000);

  // Typed confirmation: the server checks it too; here the button only waits for the right words.
  for (const input of document.querySelectorAll("input[data-confirm]")) {
    const button = input.form.querySelector("button[type=submit]");
    const check = () => { button.disabled = input.value.trim() !== input.dataset.confirm; };
    input.addEventListener("input", check);
    check();
  }
  // Filters apply when a choice changes; typing waits for Enter, as in every search.
  for (const select of document.querySelectorAll("select[data-submit]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
})();
