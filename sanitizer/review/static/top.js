// What every page has: progress, who is signed in, and short messages.

import { byId, el, fill } from "./dom.js";
import { address, leave, post } from "./net.js";
import { count, minutes, percent, some } from "./words.js";

const PARTS = [["dropped", "dropped"], ["released", "released"], ["relabelled", "relabelled"], ["waiting", "waiting for a second person"]];

/** `progress` as the server tells it, with counts that may be ahead of it; `saving` is how many decisions are on their way. */
export function progress(now, { saving = 0, away = false } = {}) {
  const box = byId("progress");
  if (!box || !now) return;
  const done = now.size - now.left;
  const bar = el(
    "div.meter",
    { role: "img", "aria-label": `${percent(now.size ? done / now.size : 1)} done: ${PARTS.map(([name, words]) => `${count(now[name])} ${words}`).join(", ")}` },
    ...PARTS.map(([name]) => el("i", { class: name, style: { width: `${now.size ? (100 * now[name]) / now.size : 0}%` } })),
  );
  const pace = [now.per_minute ? `${count(Math.round(now.per_minute))} a minute` : "", now.left ? minutes(now.minutes) : ""].filter(Boolean).join(" · ");
  const state = away ? el("span.away", { role: "status" }, `not saved yet: ${some(saving, "decision")}`) : saving ? el("span.saving", {}, "saving…") : null;
  fill(
    box,
    el("span.figure", {}, el("b", { id: "left" }, count(now.left)), ` of ${count(now.size)} left`),
    bar,
    el("span.share", {}, percent(now.size ? done / now.size : 1)),
    pace ? el("span.pace.soft", {}, pace) : null,
    state,
  );
}

let shown = [];
let fading = null;

/** A short message; `tone` is good, warn, bad or empty; `action` is { text, does }.  A refusal stays until its time, whatever else is told meanwhile. */
export function toast(text, { tone = "", action = null, stay = 5000 } = {}) {
  const now = performance.now();
  const node = el("p", { class: tone }, text, action ? el("button.plain", { type: "button", on: { click: action.does } }, action.text) : null);
  shown = shown.filter((one) => one.tone === "bad" && one.until > now && one.text !== text).slice(-2);
  shown.push({ node, text, tone, until: now + (tone === "bad" ? Math.max(stay, 9000) : stay) });
  fade();
}

function fade() {
  const now = performance.now();
  const left = shown.filter((one) => one.until > now + 20);
  const box = byId("toast");
  if (left.length) fill(box, ...left.map((one) => one.node)); // the last words stay in place while they fade
  shown = left;
  box.classList.toggle("shown", left.length > 0);
  clearTimeout(fading);
  if (left.length) fading = setTimeout(fade, Math.min(...left.map((one) => one.until)) - now);
}

/** The pages that this person may open, and how many proposals wait. */
export function pages({ waiting = null } = {}) {
  const link = document.querySelector('nav.pages a[data-page="proposals"]');
  if (link && waiting !== null) fill(link, "Proposals", waiting ? el("span.count", { "aria-label": `${waiting} samples wait` }, count(waiting)) : null);
}

byId("sign-out")?.addEventListener("click", async () => {
  leave(); // what the page asks meanwhile finds no session, and need not say so
  try {
    await post("sign-out", {});
    location.assign(address("/login"));
  } catch (error) {
    leave(false);
    toast(error.message, { tone: "bad" });
  }
});

document.addEventListener("click", (event) => {
  const open = byId("me");
  if (open?.open && !open.contains(event.target)) open.open = false;
});

export const me = document.documentElement.dataset.me;
