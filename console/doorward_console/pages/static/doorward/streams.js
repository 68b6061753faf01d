// The stream of news, while its page is looked at. A browser keeps six connections to one host: six tabs that held one each
// would leave none for what is pressed in any of them. A page that is looked at again goes on from what it knew.
"use strict";

(() => {
  class Stream extends EventTarget {
    onopen = null;
    onerror = null;
    #url;
    #source = null;
    #turn = () => (document.hidden ? this.#source?.close() : this.#open());

    constructor(url) {
      super();
      this.#url = new URL(url, window.location.href);
      document.addEventListener("visibilitychange", this.#turn);
      if (!document.hidden) this.#open();
    }

    get readyState() {
      return this.#source?.readyState ?? EventSource.CONNECTING;
    }

    close() {
      document.removeEventListener("visibilitychange", this.#turn);
      this.#source?.close();
    }

    #open() {
      const source = new EventSource(this.#url);
      this.#source = source;
      source.onopen = (event) => this.onopen?.(event);
      source.onerror = (event) => {
        if (source.readyState === EventSource.CLOSED) this.close();  // whoever listens makes a new one
        this.onerror?.(event);
      };
      source.addEventListener("news", (event) => {
        this.#url.searchParams.set("known", event.lastEventId);
        this.dispatchEvent(new MessageEvent("news", { data: event.data }));
      });
    }
  }

  document.addEventListener("DOMContentLoaded", () => { window.htmx.createEventSource = (url) => new Stream(url); });
})();
