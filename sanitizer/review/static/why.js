// Why a sample is held: one sentence, the numbers behind it, who says so, where it comes from, and what happened to it since.

import { el, icon, plain, visible } from "./dom.js";
import { picture, standing, tag } from "./panels.js";
import { DONE, ago, count, moment, number, p, percent, short, some } from "./words.js";

export function why(sample, { one, info, context, needsSecond, keys, relabel }) {
  return [
    el("h2", {}, "Why"),
    fold(),
    el("p.sentence", { class: sample.reason === one.reason ? "same" : "" }, visible(sample.reason || "No reason was given.")),
    facts(sample, one, context),
    needsSecond ? el("p.notice.small", {}, icon("waiting"), "Letting this in needs a second person.") : null,
    likely(sample, keys, relabel),
    weighty(sample, context),
    trigger(info),
    witnesses(sample),
    source(sample, info, context),
    said(sample),
    happened(sample),
    small(sample, context),
  ].filter(Boolean);
}

/** On a small screen the sentence and the numbers come first; the rest on demand. */
function fold() {
  const box = document.getElementById("why");
  const words = () => (box.classList.contains("open") ? "less" : "more");
  const button = el("button.plain.fold", { type: "button", "aria-expanded": String(box.classList.contains("open")) }, words());
  button.addEventListener("click", () => {
    box.classList.toggle("open");
    button.setAttribute("aria-expanded", String(box.classList.contains("open")));
    button.textContent = words();
  });
  return button;
}

const block = (title, ...content) => el("section", {}, el("h3", {}, title), ...content);

function facts(sample, one, context) {
  const rows = [
    ["p-value", p(sample.p)],
    ["of the case", one.significance === null || one.significance === undefined || one.significance === sample.p ? null : p(one.significance)],
    ["false alarms", context?.q ? `at most ${percent(context.q)}` : null],
    ["judged against", context?.judged ? some(context.trusted, "trusted sample") : null],
    ["label", sample.label === null ? null : tag(sample.label)],
    ["source", sample.source === null ? null : visible(sample.source)],
  ].filter(([, value]) => value !== null);
  return [
    el("dl.facts", {}, ...rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    context?.unproven ? el("p.notice.small", {}, "Unproven: no trusted release stood behind this verdict.") : null,
  ];
}

function likely(sample, keys, relabel) {
  const found = (sample.labels ?? []).filter((one) => one.votes);
  if (!found.length) return null;
  return block("Likelier labels", el("ul.likely", {}, ...found.slice(0, 4).map((one) => el("li", {}, el("button", { type: "button", on: { click: () => relabel(one.label) } }, el("span.sr", {}, "relabel "), tag(one.label), el("span.soft", {}, `${one.votes} of ${one.of} nearest trusted`))))), el("p.small.soft", {}, "press ", el("kbd", {}, keys.shown("relabel")), " and a digit"));
}

function weighty(sample, context) {
  if (!sample.columns?.length || sample.panel.kind === "profile" || sample.panel.kind === "image") return null;
  const rows = sample.columns.slice(0, 8).map((name) => {
    const cell = sample.panel.cells?.find((one) => one.name === name);
    const words = cell ? standing(context?.columns?.[name], cell.value === null ? NaN : Number(cell.value)) : "";
    return el("li", {}, el("b", {}, visible(name)), cell ? [" ", el("span", {}, visible(cell.value ?? "—"))] : null, words ? el("span.soft.small", {}, words) : null);
  });
  return block(sample.panel.kind === "text" ? "Words that weigh most" : "Columns that weigh most", el("ul.weights", {}, ...rows));
}

function trigger(info) {
  if (!info?.heat) return null;
  return block("What the case has in common", picture(info.heat, { heat: true, size: 144, label: "heat map: where the pictures of this case agree with each other and differ from trusted ones" }), el("p.small.soft", {}, "Bright where the pictures of this case agree with each other and differ from trusted ones."));
}

function witnesses(sample) {
  const spoke = (sample.witnesses ?? []).filter((one) => one.score !== null);
  const silent = (sample.witnesses ?? []).filter((one) => one.score === null);
  if (!spoke.length) return null;
  const row = (one) => el("li", {}, el("span.line", {}, el("span.mono", {}, one.name), el("span.soft", {}, one.above === null ? number(one.score) : percent(one.above))), one.above === null ? null : el("span.meter", { role: "img", "aria-label": `stranger than ${percent(one.above)} of the delivery` }, el("i.left", { style: { width: `${100 * one.above}%` } })));
  return block("Witnesses", el("ul.witnesses", {}, ...spoke.map(row)), el("p.small.soft", {}, "stranger than so much of the delivery", silent.length ? `; ${some(silent.length, "witness", "witnesses")} could not speak` : ""));
}

function source(sample, info, context) {
  if (sample.source === null) return null;
  const here = context?.sources?.[sample.source];
  const all = info?.sources?.[sample.source];
  if (!here && !all) return null;
  const states = ["dropped", "released", "relabelled", "held"];
  const total = all ? states.reduce((sum, name) => sum + (all[name] ?? 0), 0) : 0;
  return block(
    "Where it comes from",
    el("p.line", {}, el("b", {}, visible(sample.source)), here?.accused ? el("span.pill.bad", {}, "accused") : null),
    here ? el("p.small.soft", {}, `this delivery: ${count(here.suspicious)} of ${count(here.samples)} suspicious${here.p_value === null ? "" : `, p = ${p(here.p_value)}`}`) : null,
    total ? [el("span.meter", { role: "img", "aria-label": states.map((name) => `${all[name] ?? 0} ${name}`).join(", ") }, ...states.slice(0, 3).map((name) => el("i", { class: name, style: { width: `${(100 * (all[name] ?? 0)) / total}%` } }))), el("p.small.soft", {}, `${some(total, "sample")} held so far in ${some(all.deliveries, "delivery", "deliveries")}: ${states.filter((name) => all[name]).map((name) => `${count(all[name])} ${name === "held" ? "undecided" : name}`).join(", ")}`)] : null,
  );
}

function said(sample) {
  if (!sample.marks?.length) return null;
  return block("Notes", el("ul.notes", {}, ...sample.marks.map((one) => el("li", {}, icon(one.kind), el("div", {}, el("p", {}, visible(one.text)), el("p.small.soft", {}, visible(one.by), ` · ${ago(one.at)}`))))));
}

function happened(sample) {
  if (!sample.history?.length) return null;
  const row = (event) =>
    el("li", { class: event.status }, icon({ approve: "release", undo: "undo" }[event.action] ?? event.action), el("div", {}, el("p", {}, el("b", {}, visible(event.reviewer)), ` ${event.status === "proposed" ? "proposes: " : ""}${DONE[event.action]}`, event.label === null ? null : [" ", tag(event.label)], event.size > 1 ? el("span.soft", {}, ` with ${some(event.size - 1, "other")}`) : null), el("p.small.soft", {}, visible(event.reason)), el("p.small.soft", { title: moment(event.at) }, `${ago(event.at)} · ledger ${event.ledger}`)));
  return block("What happened", el("ol.events", {}, ...sample.history.map(row)));
}

function small(sample, context) {
  if (!sample.sample_id) return null;
  return el(
    "details.technical",
    {},
    el("summary", {}, "Identity"),
    el("dl.facts.small", {}, ...[["held", String(sample.id)], ["sample", short(sample.sample_id)], ["row", String(sample.position)], ["delivery", short(sample.delivery)], ["evidence", short(sample.evidence)], ["judged", context?.judged ? count(context.judged) : null]].filter(([, value]) => value !== null).map(([name, value]) => [el("dt", {}, name), el("dd.mono", {}, value)])),
  );
}
