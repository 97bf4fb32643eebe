// Questions in between: one dialog, filled anew for each.  Focus is kept inside and given back; Escape always means no.

import { el } from "./dom.js";

/**
 * Asks; resolves with what `done(value)` was called with, or null.  `build(done)` returns the content.
 */
export function ask(title, build, { wide = false, label = null } = {}) {
  return new Promise((resolve) => {
    let answer = null;
    const done = (value) => {
      answer = value;
      box.close();
    };
    const heading = el("h2", { id: "dialog-title" }, title);
    const close = el("button.plain.close", { type: "button", "aria-label": "close", on: { click: () => done(null) } }, "×");
    const box = el("dialog", { class: wide ? "wide" : "", "aria-labelledby": "dialog-title", "aria-label": label }, el("header", {}, heading, close), build(done));
    box.addEventListener("close", () => {
      box.remove();
      resolve(answer);
    });
    box.addEventListener("click", (event) => {
      if (event.target === box) done(null);
    });
    document.body.append(box);
    box.showModal();
    (box.querySelector("[autofocus]") ?? box.querySelector("input, textarea, button.primary, button:not(.close)"))?.focus();
  });
}

/** Yes, with a reason in words; resolves with the reason, or null. */
export function confirm(title, lines, { verb, reason, tone = "", reasons = [] }) {
  return ask(title, (done) => {
    const input = el("input", { type: "text", name: "reason", value: reason, maxlength: 500, required: true, list: "reasons", autocomplete: "off" });
    const list = el("datalist", { id: "reasons" }, ...reasons.map((one) => el("option", { value: one })));
    const yes = el("button.primary", { type: "submit", class: tone, autofocus: true }, verb);
    const no = el("button", { type: "button", on: { click: () => done(null) } }, "Cancel");
    return el(
      "form",
      {
        method: "dialog",
        on: {
          submit: (event) => {
            event.preventDefault();
            if (input.value.trim()) done(input.value.trim());
            else input.focus();
          },
        },
      },
      ...lines.map((line) => (line instanceof Node ? line : el("p", {}, line))),
      el("label.field", {}, "reason, for the ledger", input, list),
      el("footer", {}, yes, no, el("span.hint", {}, "Enter confirms, Escape cancels")),
    );
  });
}

/** A line of text; resolves with it, or null. */
export function write(title, question, { verb = "Save", value = "" } = {}) {
  return ask(title, (done) => {
    const area = el("textarea", { rows: 4, maxlength: 2000, required: true, autofocus: true, "aria-label": question, value });
    const send = () => area.value.trim() && done(area.value.trim());
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    return el(
      "form",
      { method: "dialog", on: { submit: (event) => (event.preventDefault(), send()) } },
      el("p", {}, question),
      area,
      el("footer", {}, el("button.primary", { type: "submit" }, verb), el("span.hint", {}, "Enter saves, Shift+Enter starts a line")),
    );
  });
}

/** One of several labels: digits choose, typing filters; resolves with a label, or null. */
export function choose(title, lines, options) {
  return ask(title, (done) => {
    const list = el("ol.choices", { id: "choices", "aria-label": "labels" });
    const input = el("input", { type: "search", "aria-label": "filter labels", placeholder: "type to filter, or press a digit", autocomplete: "off", autofocus: true });
    const digits = options.every((one) => /^\d$/.test(one.label)); // then a digit means itself
    const shown = () => options.filter((one) => one.label.toLowerCase().includes(input.value.toLowerCase()));
    const paint = () =>
      list.replaceChildren(
        ...shown()
          .slice(0, 60)
          .map((one, i) =>
            el("li", {}, el("button", { type: "button", on: { click: () => done(one.label) } }, digits ? el("kbd", {}, one.label) : i < 9 ? el("kbd", {}, String(i + 1)) : el("kbd.none", {}), el("b", {}, one.label), el("span.soft", {}, one.why ?? ""))),
          ),
      );
    input.addEventListener("input", paint);
    input.addEventListener("keydown", (event) => {
      const found = shown();
      const meant = digits ? found.find((one) => one.label === event.key) : found[Number(event.key) - 1];
      const digit = /^\d$/.test(event.key) && !input.value ? meant : null;
      if (digit || (event.key === "Enter" && found.length)) {
        event.preventDefault();
        done((digit ?? found[0]).label);
      }
    });
    paint();
    return el("form", { method: "dialog", on: { submit: (event) => event.preventDefault() } }, ...lines.map((line) => el("p", {}, line)), input, list);
  });
}
