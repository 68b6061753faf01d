// What the pages need beyond htmx: times in the viewer's zone, the theme, copying, dialogs, and saving a key that was
// shown once. No inline code, no network of its own.
"use strict";

(() => {
  const each = (root, selector, act) => {
    if (root.matches?.(selector)) act(root);
    root.querySelectorAll?.(selector).forEach(act);
  };

  // Times: the server writes them in the zone that this cookie names; this does the same for a first visit.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const remember = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax; secure`;
  };
  remember("zone", zone);

  const two = (number) => String(number).padStart(2, "0");
  const writeTime = (element) => {
    const at = new Date(element.dateTime);
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const isToday = new Date().toDateString() === at.toDateString();
    if (element.dataset.form === "seconds") element.textContent = `${clock}:${two(at.getSeconds())}`;
    else if (element.dataset.form === "time" && isToday) element.textContent = clock;
    else element.textContent = `${day} ${clock}`;
  };

  const writeLeft = (element) => {
    const seconds = Math.max(0, Math.floor((new Date(element.dataset.until) - Date.now()) / 1000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    let text = `${seconds} s`;
    if (hours) text = minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    else if (minutes) text = `${minutes} min`;
    if (element.textContent !== text) element.textContent = text;
  };

  // What a screen reader hears when the page changes by itself; only when it really says something else.
  const announced = new Map();
  const announce = (element) => {
    const text = element.dataset.announce;
    const before = announced.get(element.id);
    announced.set(element.id, text);
    const live = document.getElementById("live");
    if (live && before !== undefined && before !== text) live.textContent = text;
  };

  // Marked devices: how many, and all at once. A filter or a piece of news may have taken some away.
  const marked = (name) => document.querySelectorAll(`input[type="checkbox"][name="${name}"]`);
  const count = () => each(document.body, "[data-count]", (element) => {
    const boxes = [...marked(element.dataset.count)];
    element.textContent = boxes.filter((box) => box.checked).length;
    each(document.body, `[data-all="${element.dataset.count}"]`, (all) => {
      all.checked = boxes.length > 0 && boxes.every((box) => box.checked);
      all.indeterminate = !all.checked && boxes.some((box) => box.checked);
    });
  });
  document.addEventListener("change", (event) => {
    const all = event.target.dataset?.all;
    if (all) marked(all).forEach((box) => { box.checked = event.target.checked; });
    count();
  });

  // What cannot be taken back wants a name typed, exactly; the server asks again.
  const compare = (field) => {
    field.setCustomValidity(field.value.trim() === field.dataset.equals ? "" : `Type exactly: ${field.dataset.equals}`);
  };
  document.addEventListener("input", (event) => {
    if (event.target.dataset?.equals !== undefined) compare(event.target);
  });

  const dress = (root) => {
    count();
    each(root, "[data-equals]", compare);
    each(root, "time[datetime]", writeTime);
    each(root, "[data-until]", writeLeft);
    each(root, "[data-announce]", announce);
  };

  // The theme: as the system, then light, then dark.
  const themes = ["auto", "light", "dark"];
  const switchTheme = () => {
    const root = document.documentElement;
    const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    root.dataset.theme = next;
    remember("theme", next);
    document.getElementById("live").textContent = `Colours: ${next === "auto" ? "as the system" : next}`;
  };

  const copy = async (button) => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  };

  // A key that was shown once is saved from the page itself: there is no address from which it could be had again.
  const save = (button) => {
    const source = document.getElementById(button.dataset.save);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([source.textContent], { type: "application/octet-stream" }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("button, summary");
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
    if (!target) return;
    if (target.hasAttribute("data-theme-switch")) switchTheme();
    if (target.dataset.copy !== undefined) copy(target);
    if (target.dataset.save) save(target);
    if (target.dataset.dialog) document.getElementById(target.dataset.dialog)?.showModal();
    if (target.hasAttribute("data-close")) target.closest("dialog")?.close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach((menu) => { menu.open = false; });
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches?.("form[data-closes]")) event.target.closest("dialog")?.close();
  });
  document.addEventListener("htmx:load", (event) => dress(event.detail.elt));
  // What the page was about is gone, or not for this person any more: the page that says so is shown whole. So is the one that
  // signs in, where a part of the page was asked for and whoever asks is signed in no more. A page that is being left is not
  // loaded anew: that would take the place of where the person is going. (A download is announced like that, too.)
  let isLeft = false;
  window.addEventListener("beforeunload", () => {
    isLeft = true;
    setTimeout(() => { isLeft = false; }, 10_000);
  });
  document.addEventListener("htmx:responseError", ({ detail }) => {
    if (!isLeft && detail.requestConfig.verb === "get" && [403, 404].includes(detail.xhr.status)) window.location.reload();
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const asked = new URL(detail.pathInfo.requestPath, window.location.href);
    if (new URL(detail.xhr.responseURL).pathname === asked.pathname) return;
    detail.shouldSwap = false;
    if (!isLeft) window.location.reload();
  });
  document.addEventListener("DOMContentLoaded", () => dress(document.body));
  setInterval(() => each(document.body, "[data-until]", writeLeft), 5000);
})();
