// What waits for a second person: who proposed what, why, on what evidence, and some of the samples.

import { confirm } from "./dialogs.js";
import { byId, el, fill, icon, plain, visible } from "./dom.js";
import { address, get, post, token } from "./net.js";
import { Keys } from "./keys.js";
import { badge, labelled, small, tag } from "./panels.js";
import { me, pages, progress, toast } from "./top.js";
import { ago, colour, count, percent, some } from "./words.js";

const keys = new Keys(me);
const VERBS = { drop: "Drop", release: "Release", relabel: "Relabel" };

async function load() {
  try {
    const found = await get("proposals");
    progress(found.progress);
    pages({ waiting: found.progress.waiting });
    fill(byId("main"), el("h1", {}, "Proposals"), found.proposals.length ? el("p.soft", {}, "Each of these needs a second, different person before it counts. Whoever proposed it cannot agree with it.") : null, ...found.proposals.map((one) => proposal(one, found.me)), found.proposals.length ? null : nothing());
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  byId("main").setAttribute("aria-busy", "false");
  document.documentElement.dataset.ready = "true";
}

const nothing = () => el("div.card.empty", {}, icon("release"), el("h2", {}, "Nothing waits"), el("p.soft", {}, "No decision needs a second person at the moment."), el("a.button", { href: address("/") }, "Back to the review"));

function proposal(one, visitor) {
  const able = visitor.can.includes("approve");
  const own = one.reviewer === visitor.name;
  const [first] = one.cases;
  const kind = one.samples[0]?.panel.kind ?? "row";
  return el(
    "article.card.proposal",
    { data: { event: one.id } },
    el(
      "header",
      {},
      el(
        "div",
        {},
        first ? el("p.line", {}, el("span.key", { class: colour(first.cause) }, first.cause || "unnamed"), el("span.soft", {}, one.cases.length > 1 ? `${one.cases.length} cases · ${one.dataset}` : `case ${first.id} · ${one.dataset}`)) : null,
        el("h2", {}, icon(one.action), ` ${VERBS[one.action]} ${some(one.size, "sample")}`, one.label === null ? null : [" as ", tag(one.label)]),
        el("p", {}, el("b", {}, visible(one.reviewer)), ": ", visible(one.reason)),
        el("p.small.soft", {}, `${ago(one.at)} · decision ${one.id} · ledger ${one.ledger} · looked at ${count(one.shown.looked_at ?? 0)} of ${count(one.size)}`),
      ),
      el(
        "div.acts",
        {},
        able && !own ? el("button.primary.agree", { type: "button", on: { click: () => agree(one) } }, icon("release"), "Agree", el("kbd", { "aria-hidden": "true" }, keys.shown("agree"))) : null,
        able || own ? el("button", { type: "button", on: { click: () => decline(one, own) } }, icon("undo"), own ? "Take back" : "Decline") : null,
        el("a.button", { href: address(`/?decision=${one.id}&state=all`) }, "Look at them"),
      ),
    ),
    one.shown.audit ? audit(one.shown.audit, one.action) : null,
    own ? el("p.notice", {}, icon("waiting"), "You proposed this: somebody else must agree.") : null,
    el("div.tiles", { class: kind, "aria-hidden": "true" }, ...one.samples.map((sample) => el("div.tile", { class: "left" }, el("span.mark", {}, badge({ ...sample, proposal: null })), el("span.what", {}, ...small(sample)), el("span.label-of", {}, labelled(sample))))),
  );
}

function audit(facts, action) {
  const odd = action === "drop" ? "honest" : "poisoned";
  return el("p.notice", {}, icon("audit"), el("span", {}, `Sample audit: ${facts.drawn} of ${count(facts.population)} drawn, ${facts.odd} ${odd}. With ${percent(facts.confidence)} confidence at most `, el("b", {}, count(facts.at_most)), ` of the other ${count(facts.rest)} are ${odd}.`));
}

async function agree(one) {
  const reason = await confirm(`Agree: ${VERBS[one.action].toLowerCase()} ${some(one.size, "sample")}`, [`${plain(one.reviewer)} says: ${plain(one.reason)}`], { verb: "Agree", tone: "release", reason: "I see the same" });
  if (reason === null) return;
  await settle(() => post("approve", { token: token(), event: one.id, reason, looked: [] }), "agreed");
}

async function decline(one, own) {
  const reason = await confirm(own ? "Take back" : "Decline", ["The samples stay held, undecided."], { verb: own ? "Take back" : "Decline", reason: own ? "taken back" : "the evidence does not hold" });
  if (reason === null) return;
  await settle(() => post("undo", { token: token(), event: one.id, reason }), own ? "taken back" : "declined");
}

async function settle(ask, words) {
  try {
    const { outcomes } = await ask();
    if (outcomes[0].ok) toast(`${words}: ${some(outcomes[0].size, "sample")}`, { tone: "good" });
    else toast(outcomes[0].message, { tone: "bad" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  await load();
}

// by keyboard: j and k go through them, y agrees with the one that has the focus (or the first that one may agree with)
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || !keys.on) return;
  const all = [...document.querySelectorAll("article.proposal")];
  const at = all.indexOf(document.activeElement?.closest("article.proposal"));
  const to = { [keys.map.next]: at + 1, [keys.map.previous]: at - 1 }[event.key];
  if (to !== undefined) all[Math.max(0, Math.min(all.length - 1, to))]?.querySelector("button, a")?.focus();
  else if (event.key === keys.map.agree) (all[at] ?? document).querySelector("button.agree")?.click();
});
setInterval(() => document.visibilityState === "visible" && !document.querySelector("dialog[open]") && load(), 10000);
load();
