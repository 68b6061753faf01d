// What a person presses, beside what a page refreshes by itself. A press is sent at once: it waits for no refresh, no
// refresh and no other press takes its place, and one that has no answer says so. Nothing is replaced under a button that
// is held down. Parts are what news refreshes; forms that htmx posts are presses.
"use strict";

(() => {
  const PART = "[hx-trigger='sse:news']";
  const isPress = (detail) => detail.requestConfig.verb !== "get";

  // The order in which requests began and were answered: what the console said before it knew of a press is not shown after it.
  const began = new WeakMap();
  let moment = 0;
  let lastAnswer = 0;
  let newestAnswered = 0;

  const isOvertaken = (detail) => began.get(detail.xhr) < (isPress(detail) ? newestAnswered : lastAnswer);
  const countAnswer = (detail) => {
    lastAnswer = ++moment;
    newestAnswered = Math.max(newestAnswered, began.get(detail.xhr));
  };
  const refresh = (part) => { if (part?.isConnected) window.htmx.trigger(part, "sse:news"); };

  // A button that is held down stays where it is until it is let go: one that were replaced meanwhile would not be clicked.
  let isHeld = false;
  const waiting = new Map();
  const hold = (event) => {
    if (event.type === "keydown" && event.key !== " ") return;
    isHeld = Boolean(event.target.closest?.("button, a, summary, label, input"));
  };
  const letGo = () => {
    if (!isHeld) return;
    setTimeout(() => {  // the click comes first
      isHeld = false;
      const acts = [...waiting.values()];
      waiting.clear();
      acts.forEach((act) => act());
    });
  };
  for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, hold, true);
  for (const name of ["pointerup", "pointercancel", "dragend", "keyup"]) document.addEventListener(name, letGo, true);
  document.addEventListener("pointermove", (event) => { if (!event.buttons && event.pointerType === "mouse") letGo(); }, true);
  window.addEventListener("blur", letGo);

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    if (isPress(detail)) countAnswer(detail);
    const part = isPress(detail) ? detail.target.closest(PART) : detail.requestConfig.elt;
    if (!detail.shouldSwap || !part?.matches(PART)) return;
    if (isOvertaken(detail)) {
      detail.shouldSwap = false;
      refresh(part);
    } else if (isHeld) {
      detail.shouldSwap = false;
      const show = () => window.htmx.swap(detail.target, detail.serverResponse, { swapStyle: "innerHTML" });
      waiting.set(part, isPress(detail) ? show : () => refresh(part));
    }
  });

  // What is said of a press: one sentence before the part that it is about, gone with the next that is answered.
  const said = new Map();
  const say = (part, text) => {
    said.get(part)?.remove();
    said.delete(part);
    if (!text) return;
    const note = document.createElement("p");
    note.className = "note bad gap";
    note.setAttribute("role", "alert");
    note.textContent = text;
    said.set(part, note);
    part.before(note);
    note.scrollIntoView({ block: "nearest" });
  };
  const NO_ANSWER = "The console did not answer, so what you pressed may not have been done. Check your connection, look at what the page shows, and press again.";
  const refusalOf = (xhr) => {
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    const lines = [...page.querySelectorAll("main h1, main p:not(:has(a))")].map((line) => line.textContent.trim().replace(/[^.?!]$/, "$&."));
    return lines.join(" ") || `The console could not do it (status ${xhr.status}). Look at what the page shows, and press again.`;
  };

  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    began.set(detail.xhr, ++moment);
    if (!isPress(detail)) return;
    const { xhr, target } = detail;
    xhr.timeout = 30_000;
    for (const name of ["error", "timeout"]) xhr.addEventListener(name, () => say(target, NO_ANSWER));
    xhr.addEventListener("load", () => {
      say(target, xhr.status < 400 ? "" : refusalOf(xhr));
      if (xhr.status >= 400) refresh(target);
    });
  });
})();
