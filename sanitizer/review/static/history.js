// Every event, newest first: who, when, what, why, what was on the screen; and taking back.

import { confirm } from "./dialogs.js";
import { byId, el, fill, icon, visible } from "./dom.js";
import { address, get, post, token } from "./net.js";
import { tag } from "./panels.js";
import { pages, progress, toast } from "./top.js";
import { DONE, ago, count, moment, percent, some } from "./words.js";

const filter = Object.fromEntries(new URLSearchParams(location.search));
let next = null;

async function load(more = false) {
  try {
    const found = await get("events", { ...filter, before: more ? next : null });
    next = found.next;
    progress(found.progress);
    pages({ waiting: found.progress.waiting });
    if (!more) frame(found);
    byId("events").append(...found.events.map((event) => row(event, found.me)));
    byId("more").hidden = next === null;
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  byId("main").setAttribute("aria-busy", "false");
  document.documentElement.dataset.ready = "true";
}

function frame(found) {
  const pick = (name, words, options) => {
    const box = el("select", { "aria-label": words, on: { change: () => change(name, box.value) } }, ...options.map(([value, text]) => el("option", { value }, text)));
    box.value = filter[name] ?? "";
    return box;
  };
  const exports = found.me.can.includes("export");
  fill(
    byId("main"),
    el("h1", {}, "History"),
    el("p.soft", {}, "Every decision is an event in the ledger. Nothing is ever deleted: taking back is another event."),
    el(
      "div.row-of",
      {},
      pick("reviewer", "who", [["", "everybody"], ...found.reviewers.map((name) => [name, name])]),
      pick("action", "what", [["", "everything"], ["drop", "dropped"], ["release", "released"], ["relabel", "relabelled"], ["approve", "agreed"], ["undo", "taken back"]]),
      exports ? el("a.button", { href: address("/api/export.csv"), download: true }, "Export as CSV") : null,
      exports ? el("a.button", { href: address("/api/export.jsonl"), download: true }, "as JSON lines") : null,
    ),
    found.events.length ? el("section.card", { id: "events", "aria-label": "events" }) : el("section.card.empty", { id: "events" }, el("p.soft", {}, "Nobody decided anything yet.")),
    el("button.plain", { id: "more", type: "button", on: { click: () => load(true) } }, "earlier ones"),
  );
}

function change(name, value) {
  if (value) filter[name] = value;
  else delete filter[name];
  history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(filter)}`);
  load();
}

function row(event, visitor) {
  const own = event.reviewer === visitor.name;
  const able = event.status !== "undone" && ((own && visitor.can.includes("decide")) || (event.action !== "undo" && visitor.can.includes("approve")));
  const { shown } = event;
  const seen = [shown.screen, shown.looked_at === undefined ? null : `evidence of ${count(shown.looked_at)} on the screen`, shown.audit ? `audit: at most ${count(shown.audit.at_most)} of ${count(shown.audit.rest)} different (${percent(shown.audit.confidence)})` : null].filter(Boolean);
  return el(
    "div.event",
    { class: event.status, data: { event: event.id } },
    icon({ approve: "release" }[event.action] ?? event.action),
    el(
      "div",
      {},
      el("p.what", {}, el("b", {}, visible(event.reviewer)), ` ${event.status === "proposed" ? "proposes: " : ""}${DONE[event.action]}${event.target === null ? "" : ` decision ${event.target}`} `, el("a", { href: address(`/?decision=${event.root}&state=all`) }, some(event.size, "sample")), event.label === null ? null : [" as ", tag(event.label)], event.case === null ? null : el("span.soft", {}, ` · case ${event.case}`)),
      el("p.small.soft", {}, visible(event.reason)),
      seen.length ? el("p.small.soft", {}, seen.join(" · ")) : null,
    ),
    el(
      "div",
      {},
      el("p.small.soft", { title: moment(event.at) }, ago(event.at)),
      el("p.small.soft", {}, `event ${event.id} · ledger ${event.ledger}`),
      event.status === "proposed" ? el("span.pill.warn", {}, "waits") : event.status === "undone" ? el("span.pill", {}, "taken back") : null,
      able ? el("button.plain", { type: "button", on: { click: () => back(event) } }, "Take back") : null,
    ),
  );
}

async function back(event) {
  const reason = await confirm("Take back", [`Event ${event.id}, ${some(event.size, "sample")}: they return to what they were without it.`], { verb: "Take back", reason: "taken back" });
  if (reason === null) return;
  try {
    const { outcomes } = await post("undo", { token: token(), event: event.id, reason });
    toast(outcomes[0].ok ? `taken back: ${some(outcomes[0].size, "sample")}` : outcomes[0].message, { tone: outcomes[0].ok ? "good" : "bad" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  load();
}

load();
