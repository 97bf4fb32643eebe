// The review page: cases on the left, one sample beside its neighbours, the others below, and why on the right.
// Everything is shown at once and sent after (queue.js); what others do comes with the pulse.

import { confirm, choose, write, ask } from "./dialogs.js";
import { byId, el, fill, icon, plain, visible } from "./dom.js";
import { ACTIONS, Keys } from "./keys.js";
import { scatter } from "./map.js";
import { Refusal, address, get, leaving, post, token } from "./net.js";
import { badge, bench, labelled, picture, small, tag } from "./panels.js";
import { Queue } from "./queue.js";
import { me, pages, progress, toast } from "./top.js";
import { DONE, STATE, ago, colour, count, p, percent, short, some } from "./words.js";
import { why } from "./why.js";

const AHEAD = 14; // samples whose details are at hand before they are needed
const SOON = 60; // samples left on the page when the next page is asked for
const PULSE = 2000;
const CLAIM = 25000;
const REASONS = {
  drop: (cause) => `the evidence holds: ${cause || "suspicious"}`,
  release: (cause) => `honest: ${cause || "the suspicion"} is not confirmed`,
  relabel: (cause, label) => `wrong label, it is ${label}`,
};
const FILTERS = ["dataset", "case", "cause", "source", "label", "delivery", "decision", "draw", "state", "marked", "text"];

const state = {
  can: new Set(),
  policy: {},
  cases: new Map(),
  claims: [],
  server: null,
  head: 0,
  filter: { state: "left" },
  samples: new Map(),
  order: [],
  next: null,
  total: null,
  current: null,
  selected: new Set(),
  skipped: new Set(),
  looked: new Set(),
  trusted: new Map(),
  contexts: new Map(),
  info: null,
  compare: false,
  arriving: false,
  loadingMore: false,
  since: performance.now(),
  busy: false,
};
const keys = new Keys(me);

// --- counts: what the server knows, and what is on its way to it ---------------------------------------------------------------

const standing = (sample) => (sample.proposal ? "waiting" : sample.state === "held" ? "left" : sample.state);
const undecided = (sample) => standing(sample) === "left";

function shownCase(id) {
  const known = { ...state.cases.get(id) };
  for (const { delta } of [...(queue.flying ?? []), ...queue.pending]) {
    for (const [name, n] of Object.entries(delta?.[id] ?? {})) known[name] += n;
  }
  return known;
}

function shownProgress() {
  const sums = { size: 0, left: 0, waiting: 0, dropped: 0, released: 0, relabelled: 0 };
  for (const id of state.cases.keys()) {
    const one = shownCase(id);
    for (const name of Object.keys(sums)) sums[name] += one[name];
  }
  return { ...state.server, ...sums, minutes: state.server?.minutes && state.server.left ? (state.server.minutes * sums.left) / state.server.left : null };
}

/** After a decision of one's own: only what it can have changed. */
function paintCounts(id) {
  const row = byId("cases").querySelector(`button[data-case="${id}"]`)?.parentElement;
  if (!row || !shownCase(id).left) cases();
  else row.replaceWith(caseRow(state.cases.get(id)));
  if (id === state.filter.case) head();
  progress(shownProgress(), { saving: queue.size });
}

function byRisk() {
  const weight = (one) => (one.left ? one.risk : -1);
  return [...state.cases.values()].sort((a, b) => weight(b) - weight(a) || a.id - b.id);
}

// --- on its way ------------------------------------------------------------------------------------------------------------------

const queue = new Queue({
  told(answer, batch) {
    accept(answer);
    answer.outcomes.forEach((outcome, i) => {
      if (outcome.ok) return;
      revert(batch[i]);
      toast(outcome.message, { tone: "bad" });
      if (outcome.code === "overtaken") beat();
    });
    if (answer.reload) load();
    repaint();
    audited();
  },
  lost(batch, error) {
    batch.forEach(revert);
    toast(error.message, { tone: "bad" });
    repaint();
  },
  waits(n, away) {
    progress(shownProgress(), { saving: n, away });
  },
});

function revert(one) {
  for (const [id, before] of one.before ?? []) {
    if (queue.has(id)) continue;
    const sample = state.samples.get(id);
    if (sample) Object.assign(sample, before);
  }
}

function accept(answer) {
  for (const row of answer.cases ?? []) state.cases.set(row.id, row);
  if (answer.progress) state.server = answer.progress;
  for (const told of answer.samples ?? []) {
    const sample = state.samples.get(told.id);
    if (sample && !queue.has(told.id)) Object.assign(sample, told);
  }
}

function repaint() {
  cases();
  head();
  for (const id of state.order) retile(id);
  bar();
  progress(shownProgress(), { saving: queue.size });
  pages({ waiting: shownProgress().waiting });
  whyNow();
}

// --- deciding ----------------------------------------------------------------------------------------------------------------------

function needsSecond(action, ids) {
  const { second_reviewer_above: above, second_reviewer_causes: causes, second_reviewer_relabels: relabels } = state.policy;
  const samples = ids.map((id) => state.samples.get(id)).filter(Boolean);
  return ids.length > above || (action !== "drop" && samples.some((s) => causes.includes(s.cause))) || (action === "relabel" && relabels) || samples.some((s) => s.flags.includes("flag"));
}

const chosen = () => (state.selected.size ? [...state.selected] : state.current === null ? [] : [state.current]);

function mayDecide() {
  if (state.can.has("decide")) return true;
  toast("your role looks but does not decide", { tone: "warn" });
  return false;
}

async function decide(action, { label = null } = {}) {
  const ids = chosen();
  if (!ids.length || state.arriving || !mayDecide()) return;
  if (action === "relabel" && label === null) {
    label = await pickLabel(ids);
    if (label === null) return;
  }
  const two = needsSecond(action, ids);
  const members = new Map();
  const before = new Map();
  const delta = {};
  const looked = [];
  for (const id of ids) {
    const sample = state.samples.get(id);
    members.set(id, queue.has(id) ? null : (sample.proposal ?? sample.decision ?? 0));
    before.set(id, { state: sample.state, decision: sample.decision, proposal: sample.proposal, new_label: sample.new_label });
    const from = standing(sample);
    if (two) sample.proposal = sample.proposal ?? -1;
    else Object.assign(sample, { state: STATE[action], proposal: null, new_label: label });
    const to = standing(sample);
    const sums = (delta[sample.case] ??= {});
    sums[from] = (sums[from] ?? 0) - 1;
    sums[to] = (sums[to] ?? 0) + 1;
    if (sample.evidence && state.looked.has(id)) looked.push([id, sample.evidence]);
  }
  const cause = state.samples.get(ids[0]).cause;
  const seconds = Math.min(600, (performance.now() - state.since) / 1000);
  const command = { action, label, reason: REASONS[action](cause, label), looked, screen: ids.length > 1 ? "selection" : "sample", seconds };
  queue.add(command, members);
  const last = queue.pending.at(-1);
  last.before = before;
  last.delta = delta;
  said(action, ids.length, two, label);
  const one = state.samples.get(state.current)?.case;
  state.selected.clear();
  ids.forEach((id) => retile(id));
  paintCounts(one);
  await advance();
}

function said(action, n, two, label) {
  const what = `${some(n, "sample")} ${two ? `proposed to be ${DONE[action]}` : DONE[action]}${label === null ? "" : ` ${plain(label)}`}`;
  toast(two ? `${what}; a second person must agree` : what, { tone: two ? "warn" : "", action: { text: `Undo (${keys.shown("undo")})`, does: undo } });
}

async function decideCase(action) {
  const id = state.filter.case;
  if (!id || !mayDecide()) return id ? undefined : toast("choose a case first", { tone: "warn" });
  await queue.flush();
  const one = shownCase(id);
  if (!one.left) return toast("nothing is left to decide in this case", { tone: "warn" });
  const label = action === "relabel" ? await pickLabel(state.order.filter((n) => undecided(state.samples.get(n))).slice(0, 1)) : null;
  if (action === "relabel" && label === null) return;
  const seen = state.order.filter((n) => state.looked.has(n) && state.samples.get(n).evidence);
  const two = one.left > state.policy.second_reviewer_above || (action === "relabel" && state.policy.second_reviewer_relabels) || (action !== "drop" && state.policy.second_reviewer_causes.includes(one.cause));
  const lines = [
    el("p", {}, `${verb(action)} all ${some(one.left, "sample")} that are left of this case${label === null ? "" : " "}`, label === null ? null : ["as ", tag(label)], "?"),
    el("p.soft", {}, `You looked at ${count(seen.length)} of them.`, one.left >= 10 && action !== "relabel" ? ` A sample audit (${keys.shown("audit")}) would tell how many of the others could be different.` : ""),
    two ? el("p.notice", {}, icon("waiting"), "A second person must agree before this counts.") : null,
  ].filter(Boolean);
  const reason = await confirm(`${verb(action)} ${count(one.left)}`, lines, { verb: `${verb(action)} ${count(one.left)}`, tone: action, reason: REASONS[action](one.cause, plain(label)) });
  if (reason === null) return;
  wholeCase(one, action, { label, reason, two, screen: "case", looked: seen.map((n) => [n, state.samples.get(n).evidence]) });
}

function wholeCase(one, action, { label = null, reason, two, screen, looked = [], draw = null }) {
  const before = new Map();
  for (const id of state.order) {
    const sample = state.samples.get(id);
    if (sample.case !== one.id || !undecided(sample)) continue;
    before.set(id, { state: sample.state, decision: sample.decision, proposal: sample.proposal, new_label: sample.new_label });
    if (two) sample.proposal = -1;
    else Object.assign(sample, { state: STATE[action], new_label: label });
  }
  queue.add({ action, label, reason, case: one.id, expected: one.left, screen, looked, draw, seconds: 0 });
  const last = queue.pending.at(-1);
  last.before = before;
  last.delta = { [one.id]: { left: -one.left, [two ? "waiting" : STATE[action]]: one.left } };
  said(action, one.left, two, label);
  state.order.forEach((id) => retile(id));
  paintCounts(one.id);
  nextCase();
}

const verb = (action) => ({ drop: "Drop", release: "Release", relabel: "Relabel" })[action];

async function pickLabel(ids) {
  const sample = state.samples.get(ids[0]);
  if (!sample) return null;
  if (sample.label === null) {
    toast("these samples have no label", { tone: "warn" });
    return null;
  }
  if (!sample.labels) await details([ids[0]]);
  const options = state.samples.get(ids[0]).labels.map(({ label, votes, of }) => ({ label, why: votes ? `${votes} of ${of} nearest trusted` : "" }));
  return choose(ids.length > 1 ? `Relabel ${some(ids.length, "sample")}` : "Relabel", [`now labelled ${plain(sample.label)}`], options);
}

async function undo() {
  if (!mayDecide()) return;
  await queue.flush();
  try {
    const answer = await post("undo", { token: token() });
    const [outcome] = answer.outcomes;
    accept(answer);
    if (!outcome.ok) return toast(outcome.message, { tone: "warn" });
    for (const told of answer.samples) state.skipped.delete(told.id);
    toast(`taken back: ${some(outcome.size, "sample")}`, { tone: "good" });
    const back = answer.samples.find((told) => state.samples.has(told.id) && state.order.includes(told.id));
    repaint();
    if (back) await select(back.id);
    else if (answer.cases.length === 1 && answer.cases[0].id !== state.filter.case) await openCase(answer.cases[0].id);
    else await load();
  } catch (error) {
    failed(error);
  }
}

async function agree() {
  const sample = state.samples.get(state.current);
  if (!sample?.proposal) return toast("nobody proposed anything about this sample", { tone: "warn" });
  if (!state.can.has("approve")) return toast("only an approver can agree with what others proposed", { tone: "warn" });
  await queue.flush();
  try {
    const looked = sample.evidence ? [[sample.id, sample.evidence]] : [];
    const answer = await post("approve", { token: token(), event: sample.proposal, reason: "I see the same", looked });
    accept(answer);
    const [outcome] = answer.outcomes;
    toast(outcome.ok ? `agreed: ${some(outcome.size, "sample")}` : outcome.message, { tone: outcome.ok ? "good" : "bad" });
    repaint();
  } catch (error) {
    failed(error);
  }
}

async function markIt(kind) {
  const sample = state.samples.get(state.current);
  if (!sample || !mayDecide()) return;
  const [title, question] = kind === "note" ? ["Note", "A note on this sample, for everybody, and in the ledger."] : ["Second reviewer", "Why should a second person look at this sample? Every decision on it will wait for one."];
  const text = await write(title, question, { verb: kind === "note" ? "Keep the note" : "Ask for a second reviewer", value: kind === "flag" ? "I am not sure" : "" });
  if (text === null) return;
  try {
    const { outcomes } = await post("mark", { token: token(), sample: sample.id, kind, text });
    if (!outcomes[0].ok) return toast(outcomes[0].message, { tone: "bad" });
    const now = state.samples.get(sample.id); // its details may have come meanwhile
    if (!now.flags.includes(kind)) now.flags.push(kind);
    (now.marks ??= []).push({ kind, by: me, text, at: new Date().toISOString() });
    retile(sample.id);
    whyNow();
    toast(kind === "note" ? "noted" : "a second person will look", { tone: "good" });
  } catch (error) {
    failed(error);
  }
}

// --- sample audit --------------------------------------------------------------------------------------------------------------------

async function audit() {
  const id = state.filter.case;
  if (!id || !mayDecide()) return id ? undefined : toast("choose a case first", { tone: "warn" });
  await queue.flush();
  await caseInfo(id);
  const { draw, offers } = state.info;
  if (draw) return draw.done ? apply(draw) : openDraw(draw);
  if (!offers.length) return toast("too few are left: look at each of them", { tone: "warn" });
  const size = await ask("Sample audit", (done) => [
    el("p", {}, "Members of this case are drawn at random. You decide those; what you say is applied to the rest, with the bound stated."),
    el("ol.choices", {}, ...offers.map((one, i) => el("li", {}, el("button", { type: "button", class: one.draw === preferred(offers) ? "primary" : "", autofocus: one.draw === preferred(offers), on: { click: () => done(one.draw) } }, el("b", {}, `draw ${one.draw}`), el("span", {}, `if all agree: with 95 % at most ${count(one.at_most)} of the other ${count(one.rest)} are different`))))),
  ]);
  if (size === null) return;
  try {
    openDraw(await post("draw", { case: id, size }));
  } catch (error) {
    failed(error);
  }
}

const preferred = (offers) => offers.find((one) => one.draw >= 20)?.draw ?? offers.at(-1).draw;

async function openDraw(draw) {
  state.info.draw = draw;
  await show({ case: draw.case, draw: draw.id, state: "all" });
  toast(`${draw.drawn} of ${draw.population} drawn at random: decide these`, { tone: "good" });
}

/** When the last drawn sample is decided, ask what shall become of the rest. */
async function audited() {
  const draw = state.info?.draw;
  if (!draw || !state.filter.draw || state.busy || queue.size) return;
  if (state.order.some((id) => undecided(state.samples.get(id)))) return;
  state.busy = true;
  try {
    state.info.draw = await get(`draw/${draw.id}`);
    if (state.info.draw.done && !state.info.draw.decision) await apply(state.info.draw);
  } catch (error) {
    failed(error);
  } finally {
    state.busy = false;
  }
}

async function apply(draw) {
  const action = draw.odd.drop <= draw.odd.release ? "drop" : "release";
  const [what, odd] = action === "drop" ? ["dropped", "honest"] : ["released", "poisoned"];
  const agreed = draw.drawn - draw.odd[action];
  const one = shownCase(draw.case);
  if (!one.left) return show({ case: draw.case, state: "left" });
  const two = one.left > state.policy.second_reviewer_above || (action !== "drop" && state.policy.second_reviewer_causes.includes(one.cause));
  const lines = [
    el("p.lead", {}, `${agreed} of ${draw.drawn} drawn were ${what}. With 95 % confidence at most `, el("b", {}, count(draw.at_most[action])), ` of the other ${count(draw.rest)} are ${odd}.`),
    el("p.soft.small", {}, `Exact hypergeometric bound for ${draw.odd[action]} ${odd} in ${draw.drawn} drawn of ${draw.population}.`),
    two ? el("p.notice", {}, icon("waiting"), "A second person must agree before this counts.") : null,
  ].filter(Boolean);
  const name = `${verb(action)} the other ${count(one.left)}`;
  const reason = await confirm("Apply to the rest", lines, { verb: name, tone: action, reason: `sample audit: ${agreed} of ${draw.drawn} ${what}` });
  if (reason === null) return show({ case: draw.case, state: "left" });
  state.filter = { ...state.filter, draw: null, state: "left" };
  wholeCase(one, action, { reason, two, screen: "audit", draw: draw.id });
}

// --- listing -------------------------------------------------------------------------------------------------------------------------

let loading = 0;

async function load({ more = false, at = null } = {}) {
  const mine = ++loading;
  state.loadingMore = more;
  byId("main").setAttribute("aria-busy", "true");
  try {
    const found = await get("members", { ...state.filter, after: more ? state.next : null, limit: more ? 120 : 60 });
    if (mine !== loading) return;
    if (!more) {
      state.order = [];
      state.selected.clear();
      state.total = found.total;
    }
    for (const one of found.members) {
      const known = state.samples.get(one.id) ?? {};
      state.samples.set(one.id, queue.has(one.id) ? { ...one, ...known } : { ...known, ...one, thumb: one.panel, panel: known.evidence ? known.panel : one.panel });
      if (!state.order.includes(one.id)) state.order.push(one.id);
    }
    state.next = found.next;
    members();
    filters();
    if (!more || state.current === null) {
      const first = at !== null && state.order.includes(at) ? at : (state.order.find((id) => undecided(state.samples.get(id))) ?? state.order[0] ?? null);
      await select(first);
    }
    if (!found.members.length && found.next) await load({ more: true });
  } catch (error) {
    failed(error);
  } finally {
    if (mine === loading) state.loadingMore = false;
    byId("main").setAttribute("aria-busy", "false");
  }
}

async function details(ids) {
  const wanted = ids.filter((id) => !state.samples.get(id)?.evidence).slice(0, 20);
  if (!wanted.length) return;
  const found = await get("details", { ids: wanted.join(",") });
  for (const [key, panel] of Object.entries(found.trusted)) state.trusted.set(key, panel);
  for (const one of Object.values(found.samples)) {
    const known = state.samples.get(one.id) ?? { thumb: one.panel, flags: [] };
    const moved = queue.has(one.id) ? { state: known.state, decision: known.decision, proposal: known.proposal, new_label: known.new_label } : {};
    state.samples.set(one.id, { ...known, ...one, ...moved });
  }
  const deliveries = new Set(Object.values(found.samples).map((one) => one.delivery));
  for (const delivery of deliveries) if (!state.contexts.has(delivery)) state.contexts.set(delivery, await get("context", { delivery }));
}

let fetching = false;

/** Details of the samples that come next, before anybody asks. */
async function prefetch() {
  if (fetching) return;
  const from = Math.max(0, state.order.indexOf(state.current));
  const ahead = state.order.slice(from, from + 3 * AHEAD).filter((id) => !state.samples.get(id).evidence);
  if (!ahead.length || state.order.slice(from, from + AHEAD).every((id) => state.samples.get(id).evidence)) return;
  fetching = true;
  try {
    await details(ahead);
  } catch (error) {
    failed(error);
  } finally {
    fetching = false;
  }
  if (state.current !== null && !state.shownDetails) paintSample();
  prefetch();
}

async function select(id) {
  state.current = id;
  state.since = performance.now();
  for (const tile of byId("members").querySelectorAll('[aria-selected="true"]')) if (!state.selected.has(Number(tile.dataset.id))) tile.setAttribute("aria-selected", "false");
  for (const tile of byId("members").querySelectorAll(".here")) tile.classList.remove("here");
  const tile = tileOf(id);
  const list = byId("members").querySelector("[role=listbox]");
  if (tile) {
    tile.classList.add("here");
    tile.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", tile.id);
    tile.scrollIntoView({ block: "nearest" });
  } else list?.removeAttribute("aria-activedescendant");
  paintSample();
  bar();
  remember();
  prefetch();
  if (state.next && state.order.length - state.order.indexOf(id) < SOON && id !== null && !state.loadingMore) load({ more: true });
}

function paintSample() {
  const box = byId("bench");
  const sample = state.samples.get(state.current);
  if (!sample) {
    state.shownDetails = true;
    fill(box, empty());
    fill(byId("why"));
    return;
  }
  state.shownDetails = Boolean(sample.evidence);
  if (sample.evidence) state.looked.add(sample.id);
  const context = state.contexts.get(sample.delivery);
  const trusted = (sample.beside?.rows ?? []).map(({ key, likeness }) => ({ panel: state.trusted.get(key), likeness })).filter(({ panel }) => panel);
  const plane = sample.panel.kind === "vector" && context?.map?.points?.length ? plane_(context.map) : null;
  fill(box, el("div.inner", { class: sample.panel.kind }, ...bench(sample, trusted, context, { compare: state.compare, map: plane })));
  whyNow();
}

function plane_(map) {
  const shown = state.order.map((id) => state.samples.get(id)).map((one) => ({ id: one.id, at: one.panel.at, done: !undecided(one) }));
  return scatter(map, shown, state.current, (ids) => {
    if (ids.length === 1) return select(ids[0]);
    state.selected = new Set(ids.filter((id) => undecided(state.samples.get(id))));
    state.order.forEach((id) => retile(id));
    bar();
    toast(`${some(state.selected.size, "sample")} selected`);
  });
}

function whyNow() {
  const sample = state.samples.get(state.current);
  if (!sample) return;
  fill(byId("why"), ...why(sample, { one: shownCase(sample.case), info: state.info, context: state.contexts.get(sample.delivery), needsSecond: needsSecond("release", [sample.id]), keys, relabel: (label) => decide("relabel", { label }) }));
}

function step(by) {
  const at = state.order.indexOf(state.current);
  const to = state.order[Math.max(0, Math.min(state.order.length - 1, at + by))];
  if (to !== undefined && to !== state.current) select(to);
}

/** To the next sample that nobody decided; then to the skipped ones; then to the next case. */
async function advance() {
  const at = state.order.indexOf(state.current);
  const open = (id) => undecided(state.samples.get(id)) && !state.skipped.has(id);
  const to = state.order.slice(at + 1).find(open) ?? (state.next ? null : state.order.slice(0, at + 1).find(open));
  if (to !== undefined && to !== null) return select(to);
  if (state.next) {
    state.arriving = true; // a key pressed now would decide the same sample again
    await load({ more: true });
    state.arriving = false;
    const later = state.order.slice(at + 1).find(open) ?? state.order.find(open);
    if (later !== undefined) return select(later);
  }
  const skipped = state.order.find((id) => undecided(state.samples.get(id)));
  if (skipped !== undefined) {
    state.skipped.clear();
    toast("these are the ones you skipped");
    return select(skipped);
  }
  if (state.filter.draw) return paintSample();
  if (state.filter.case && !shownCase(state.filter.case).left) return nextCase();
  paintSample();
}

function nextCase(by = 1) {
  const open = byRisk().filter((one) => shownCase(one.id).left > 0);
  if (by === 1) {
    const others = open.filter((one) => one.id !== state.filter.case);
    const free = others.find((one) => !state.claims.some((claim) => claim.case === one.id)) ?? others[0];
    if (free) return openCase(free.id);
    paintSample();
    return fill(byId("bench"), empty());
  }
  const all = byRisk();
  const at = all.findIndex((one) => one.id === state.filter.case);
  const to = all[(at + by + all.length) % all.length];
  if (to) openCase(to.id);
}

function empty() {
  const now = shownProgress();
  const all = !now.left;
  return el(
    "div.empty",
    {},
    icon(all ? "release" : "left"),
    el("h2", {}, all ? "Nothing is left to decide" : "Nothing here"),
    el("p.soft", {}, all ? (now.waiting ? `${some(now.waiting, "sample")} wait for a second person.` : "Everything that was held has a decision. The next release takes them in.") : "No sample fits these filters."),
    all && now.waiting ? el("a.button", { href: address("/proposals") }, "See the proposals") : null,
  );
}

// --- cases ---------------------------------------------------------------------------------------------------------------------------

async function show(filter, { at = null, push = true } = {}) {
  state.filter = { dataset: state.filter.dataset, state: "left", ...filter };
  state.current = null;
  state.skipped.clear();
  if (push) remember(true);
  document.body.classList.remove("drawer");
  cases();
  head();
  if (state.filter.case) {
    caseInfo(state.filter.case).then(() => {
      head();
      filters();
      whyNow();
    }, failed);
    claim();
  } else state.info = null;
  byId("cases").querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
  await load({ at });
}

const openCase = (id) => show({ case: id });

async function caseInfo(id) {
  const found = await get(`case/${id}`);
  state.cases.set(id, found.case);
  if (state.filter.case === id) state.info = found;
}

function claim() {
  if (state.filter.case && state.can.has("decide")) post("claim", { case: state.filter.case }).then(({ claims }) => ((state.claims = claims), cases()), failed);
}

function cases() {
  const all = byRisk();
  const open = all.filter((one) => shownCase(one.id).left > 0);
  const done = all.filter((one) => shownCase(one.id).left === 0);
  const here = shownCase(state.filter.case);
  fill(
    byId("cases"),
    el("button.current", { type: "button", "aria-expanded": String(document.body.classList.contains("drawer")), on: { click: () => (document.body.classList.toggle("drawer"), cases()) } }, icon("menu"), here.id ? `Case ${here.id}` : "All cases", el("span.soft", {}, some(open.length, "case"), " left")),
    el(
      "div.list",
      {},
      el("h2", {}, "Cases", el("span.soft", {}, open.length ? "riskiest first" : "")),
      el("ul", {}, ...open.map(caseRow)),
      done.length ? el("details", { open: done.some((one) => one.id === state.filter.case) || !open.length }, el("summary", {}, some(done.length, "case"), " decided"), el("ul", {}, ...done.map(caseRow))) : null,
    ),
  );
}

function caseRow(one) {
  const now = shownCase(one.id);
  const others = state.claims.filter((claim) => claim.case === one.id).map((claim) => claim.by);
  const part = (name) => el("i", { class: name, style: { width: `${(100 * now[name]) / now.size}%` } });
  return el(
    "li",
    {},
    el(
      "button.case",
      { type: "button", "aria-current": one.id === state.filter.case ? "true" : null, data: { case: one.id }, on: { click: () => openCase(one.id) } },
      el("span.line", {}, el("span.key", { class: colour(one.cause) }, one.cause || "unnamed"), el("b.n", {}, now.left ? count(now.left) : icon("release"))),
      el("span.reason", {}, one.name ? one.reason : "single samples"),
      el("span.meter", { "aria-hidden": "true" }, part("dropped"), part("released"), part("relabelled"), part("waiting")),
      el("span.line.small", {}, el("span.soft", {}, one.dataset), now.waiting ? el("span.soft", {}, `${count(now.waiting)} wait`) : null, others.length ? el("span.others", {}, icon("person"), others.join(", ")) : null),
    ),
  );
}

function head() {
  const id = state.filter.case;
  const box = byId("head");
  if (!id) {
    fill(box, el("div.title", {}, el("h1", {}, state.filter.text ? "Search" : state.filter.decision ? `Decision ${state.filter.decision}` : "All held samples")));
    return;
  }
  const one = shownCase(id);
  const draw = state.filter.draw ? state.info?.draw : null;
  const able = state.can.has("decide") && one.left > 0;
  const act = (name, words, does, tone) => el("button", { type: "button", class: tone, on: { click: does } }, icon(tone), el("span", {}, words), el("kbd", { "aria-hidden": "true" }, keys.shown(name)));
  fill(
    box,
    el(
      "div.title",
      {},
      el("p.line", {}, el("span.key", { class: colour(one.cause) }, one.cause || "unnamed"), el("span.soft", {}, `case ${id} · ${one.dataset}`)),
      el("h1", {}, one.name ? one.reason : `Single samples: ${one.cause.replaceAll("-", " ")}`),
    ),
    el(
      "div.under",
      {},
      draw ? drawLine(draw) : el("p.soft.small", {}, el("b", {}, count(one.left)), ` of ${count(one.size)} left`, parts(one)),
      able ? el("div.acts", {}, act("audit", "Audit", audit, "audit"), act("dropCase", "Drop rest", () => decideCase("drop"), "drop"), act("releaseCase", "Release rest", () => decideCase("release"), "release")) : null,
    ),
  );
}

function parts(one) {
  return ["dropped", "released", "relabelled", "waiting"].filter((name) => one[name]).map((name) => el("span.part", { class: name }, `${count(one[name])} ${name === "waiting" ? "wait for a second person" : name}`));
}

function drawLine(draw) {
  const decided = state.order.filter((id) => !undecided(state.samples.get(id))).length;
  return el("p.notice", {}, icon("audit"), el("span", {}, el("b", {}, `${decided} of ${draw.drawn}`), ` drawn at random from ${count(draw.population)} are decided`), el("button.plain", { type: "button", on: { click: () => show({ case: draw.case, state: "left" }) } }, "leave the audit"));
}

// --- members and filters -------------------------------------------------------------------------------------------------------------

const tileOf = (id) => document.getElementById(`s${id}`);

function members() {
  const box = byId("members");
  const kind = state.samples.get(state.order[0])?.panel.kind ?? "row";
  if (!state.order.length) {
    fill(box);
    return;
  }
  const known = box.querySelector("[role=listbox]");
  if (known && known.dataset.list === listName() && known.classList.contains(kind)) {
    for (const id of state.order.slice(known.children.length)) known.append(tile(id));
    more(box);
    return;
  }
  const list = el("div.tiles", { role: "listbox", "aria-label": "samples, most suspicious first", "aria-multiselectable": "true", tabindex: "0", class: kind, data: { list: listName() }, on: { click: clicked } });
  list.append(...state.order.map(tile));
  fill(box, list);
  box.scrollTop = 0;
  more(box);
}

let generation = 0;
const listName = () => `${generation}:${JSON.stringify(state.filter)}`;

function more(box) {
  box.querySelector(".more")?.remove();
  if (state.next) box.append(el("button.plain.more", { type: "button", on: { click: () => load({ more: true }) } }, "more"));
}

function tile(id) {
  const sample = state.samples.get(id);
  const node = el("div.tile", { role: "option", id: `s${id}`, data: { id } });
  node.append(el("span.mark"), el("span.what", {}, ...small({ ...sample, panel: sample.thumb ?? sample.panel })), el("span.label-of"));
  retile(id, node);
  return node;
}

function retile(id, node = tileOf(id)) {
  if (!node) return;
  const sample = state.samples.get(id);
  const at = standing(sample);
  const selected = state.selected.has(id);
  const here = id === state.current;
  const stamp = `${at} ${selected} ${sample.new_label} ${sample.flags.join()} ${here}`;
  if (node.dataset.stamp === stamp) return;
  node.dataset.stamp = stamp;
  node.className = `tile ${at} ${selected ? "selected" : ""} ${here ? "here" : ""}`;
  node.setAttribute("aria-selected", String(selected || here));
  const words = [`sample ${id}`, at === "left" ? "undecided" : at === "waiting" ? "waits for a second person" : at, sample.flags.includes("flag") ? "second reviewer asked for" : "", selected ? "selected" : ""];
  fill(node.querySelector(".mark"), el("span.sr", {}, `${words.filter(Boolean).join(", ")}: `), badge(sample), ...sample.flags.map((flag) => el("span.badge", { class: flag }, icon(flag))));
  fill(node.querySelector(".label-of"), labelled(sample));
}

function clicked(event) {
  const node = event.target.closest("[role=option]");
  if (!node) return;
  const id = Number(node.dataset.id);
  if (event.shiftKey || event.ctrlKey || event.metaKey) {
    const from = state.order.indexOf(state.current);
    const to = state.order.indexOf(id);
    const range = event.shiftKey ? state.order.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const one of range) if (event.shiftKey || !state.selected.has(one)) state.selected.add(one); else state.selected.delete(one);
    state.order.forEach((one) => retile(one));
    bar();
    return;
  }
  state.selected.clear();
  state.order.forEach((one) => retile(one));
  select(id);
}

function filters() {
  const box = byId("filters");
  if (box.contains(document.activeElement) && document.activeElement.type === "search") return sum();
  const facet = (name, words, values) =>
    values.length > 1 || state.filter[name] ? select_(name, words, [["", `any ${words}`], ...values.map(([value, n]) => [value, `${plain(value)} (${count(n)})`])]) : null;
  const search = el("input", { type: "search", name: "text", id: "search", placeholder: `search  ${keys.shown("search")}`, "aria-label": "search label, source, reason, ids, words and cells", value: state.filter.text ?? "", maxlength: 200, autocomplete: "off" });
  let waiting = null;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => refilter({ text: search.value }), 250);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || event.key === "Enter") {
      event.preventDefault();
      clearTimeout(waiting);
      search.blur();
      refilter({ text: event.key === "Escape" ? "" : search.value });
    }
  });
  fill(
    box,
    select_("state", "state", [["left", "undecided"], ["waiting", "waiting for a second person"], ["dropped", "dropped"], ["released", "released"], ["relabelled", "relabelled"], ["all", "all"]]),
    facet("label", "label", state.info?.facets.label ?? []),
    facet("source", "source", state.info?.facets.source ?? []),
    el("label.check", {}, el("input", { type: "checkbox", name: "marked", checked: Boolean(state.filter.marked), on: { change: (event) => refilter({ marked: event.target.checked || null }) } }), "second look"),
    search,
    el("output", { id: "sum", "aria-live": "polite" }),
  );
  sum();
}

function sum() {
  const out = byId("sum");
  if (!out) return;
  out.textContent = state.total === null || state.total === undefined ? `${count(state.order.length)}${state.next ? "+" : ""} found` : some(state.total, "sample");
}

function select_(name, words, options) {
  const box = el("select", { name, "aria-label": words, on: { change: () => refilter({ [name]: box.value || null }) } }, ...options.map(([value, text]) => el("option", { value }, text)));
  box.value = state.filter[name] ?? "";
  return box;
}

function refilter(change) {
  state.filter = { ...state.filter, ...change };
  generation += 1;
  remember(true);
  load();
}

// --- the bar -------------------------------------------------------------------------------------------------------------------------

function bar() {
  const n = state.selected.size;
  const sample = state.samples.get(state.current);
  const stamp = `${n} ${Boolean(sample)} ${state.can.size} ${sample?.proposal ? "p" : ""} ${keys.on} ${JSON.stringify(keys.map)}`;
  const box = byId("bar");
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  const act = (name, words, does, tone = "") => el("button", { type: "button", class: `${tone} ${name}`, disabled: !sample && name !== "undo", on: { click: does } }, icon(name), el("span", {}, words), keys.on ? el("kbd", { "aria-hidden": "true" }, keys.shown(name)) : null);
  const decides = state.can.has("decide");
  fill(
    box,
    n ? el("span.selection", {}, el("b", {}, count(n)), " selected") : null,
    decides ? act("drop", n ? `Drop ${n}` : "Drop", () => decide("drop"), "strong") : null,
    decides ? act("release", n ? `Release ${n}` : "Release", () => decide("release"), "strong") : null,
    decides ? act("relabel", n ? `Relabel ${n}` : "Relabel", () => decide("relabel"), "strong") : null,
    sample?.proposal && state.can.has("approve") ? act("agree", "Agree", agree, "strong") : null,
    act("skip", "Skip", skip),
    decides ? act("undo", "Undo", undo) : null,
    decides ? act("note", "Note", () => markIt("note")) : null,
    decides ? act("flag", "Second look", () => markIt("flag")) : null,
    act("zoom", "Zoom", zoom),
    act("help", "Keys", help),
  );
}

function skip() {
  if (state.current === null) return;
  state.skipped.add(state.current);
  advance();
}

async function zoom() {
  const sample = state.samples.get(state.current);
  if (!sample) return;
  try {
    const panel = await get(`zoom/${sample.id}`);
    const context = state.contexts.get(sample.delivery);
    await ask(`Sample ${sample.id}`, () => (panel.kind === "image" ? el("div.zoomed", {}, picture(panel.image, { size: 720, label: `sample ${sample.id}, labelled ${plain(sample.label)}` }), el("p.soft", {}, `${panel.image.of[1]} × ${panel.image.of[0]} pixels`)) : el("div.zoomed", {}, ...bench({ ...sample, panel }, [], context))), { wide: true });
  } catch (error) {
    failed(error);
  }
}

async function help() {
  await ask(
    "Keys",
    () => {
      const box = el("div.cheat");
      const paint = () =>
        fill(
          box,
          el("label.check", {}, el("input", { type: "checkbox", checked: keys.on, on: { change: (event) => ((keys.on = event.target.checked), keys.keep(), bar()) } }), "single keys decide"),
          el("dl.keys", {}, ...ACTIONS.map(([name, , words]) => [el("dt", {}, el("button.key-of", { type: "button", "aria-label": `${keys.shown(name)}, change the key for: ${words}`, on: { click: (event) => rebind(event.currentTarget, name, paint) } }, el("kbd", {}, keys.shown(name)))), el("dd", {}, words)])),
          el("footer", {}, el("button", { type: "button", on: { click: () => (keys.reset(), paint(), bar()) } }, "the usual keys"), el("span.hint", {}, "press a key here to change it; arrows move too")),
        );
      paint();
      return box;
    },
    { wide: true },
  );
  byId("bar").dataset.stamp = "";
  bar();
  head();
}

function rebind(button, name, paint) {
  fill(button, el("kbd", {}, "press a key"));
  button.addEventListener(
    "keydown",
    (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (event.key.length === 1) keys.assign(name, event.key);
      paint();
    },
    { once: true },
  );
}

// --- the address, others, and the beginning --------------------------------------------------------------------------------------------

let writing = null;

function remember(push = false) {
  const terms = new URLSearchParams();
  for (const name of FILTERS) if (state.filter[name] && !(name === "state" && state.filter.state === "left")) terms.set(name, state.filter[name]);
  clearTimeout(writing);
  const put = () => {
    if (state.current !== null) terms.set("id", state.current);
    const url = `${location.pathname}${terms.size ? `?${terms}` : ""}`;
    if (push) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  };
  if (push) put();
  else writing = setTimeout(put, 400); // browsers throttle faster writers
}

function fromAddress() {
  const terms = new URLSearchParams(location.search);
  const filter = { state: "left" };
  for (const name of FILTERS) {
    const value = terms.get(name);
    if (value) filter[name] = ["case", "decision", "draw"].includes(name) ? Number(value) : value;
  }
  return { filter, at: terms.has("id") ? Number(terms.get("id")) : null };
}

async function beat() {
  try {
    const answer = await get("pulse", { head: state.head, dataset: state.filter.dataset });
    const changed = answer.head !== state.head;
    state.head = answer.head;
    const claims = JSON.stringify(state.claims) !== JSON.stringify(answer.claims);
    state.claims = answer.claims;
    const others = answer.events.filter((event) => event.reviewer !== me);
    accept(answer);
    if (answer.reload && !queue.size) await load({ at: state.current });
    if (changed) repaint();
    else if (claims) cases();
    else progress(shownProgress(), { saving: queue.size });
    const last = others.at(-1);
    if (last) toast(`${plain(last.reviewer)}: ${some(last.size, "sample")} ${last.status === "proposed" ? `proposed to be ${DONE[last.action]}` : DONE[last.action]}`);
  } catch (error) {
    failed(error, { quiet: true });
  }
}

function failed(error, { quiet = false } = {}) {
  if (!(error instanceof Refusal) && quiet) return;
  toast(error.message, { tone: "bad" });
  if (!(error instanceof Refusal) && error.name !== "Error") console.error(error);
}

const DOES = {
  next: () => step(1),
  previous: () => step(-1),
  drop: () => decide("drop"),
  release: () => decide("release"),
  relabel: () => decide("relabel"),
  skip,
  undo,
  dropCase: () => decideCase("drop"),
  releaseCase: () => decideCase("release"),
  relabelCase: () => decideCase("relabel"),
  audit,
  nextCase: () => nextCase(),
  previousCase: () => nextCase(-1),
  select: () => {
    if (state.current === null) return;
    if (!state.selected.delete(state.current)) state.selected.add(state.current);
    retile(state.current);
    step(1);
    bar();
  },
  selectAll: () => {
    for (const id of state.order) if (undecided(state.samples.get(id))) state.selected.add(id);
    state.order.forEach((id) => retile(id));
    bar();
  },
  note: () => markIt("note"),
  flag: () => markIt("flag"),
  agree,
  search: () => byId("search")?.focus(),
  zoom,
  compare: () => {
    state.compare = !state.compare;
    paintSample();
    toast(state.compare ? "differences to the neighbours" : "as they are");
  },
  help,
  escape: () => {
    if (!state.selected.size) return false;
    state.selected.clear();
    state.order.forEach((id) => retile(id));
    bar();
  },
};

async function begin() {
  const { filter, at } = fromAddress();
  try {
    const start = await get("start", { dataset: filter.dataset });
    Object.assign(state, { can: new Set(start.me.can), policy: start.policy, claims: start.claims, server: start.progress, head: start.head });
    for (const row of start.cases) state.cases.set(row.id, row);
    state.filter = filter;
    progress(shownProgress());
    pages({ waiting: start.progress.waiting });
    const plainly = !filter.case && !filter.decision && !filter.text && !filter.label && !filter.source && filter.state === "left" && !filter.marked;
    const first = plainly ? (byRisk().find((one) => one.left && !start.claims.some((claimed) => claimed.case === one.id)) ?? byRisk().find((one) => one.left)) : null;
    await show(first ? { ...filter, case: first.id } : filter, { at, push: false });
  } catch (error) {
    failed(error);
  }
  byId("main").setAttribute("aria-busy", "false");
  document.documentElement.dataset.ready = "true";
}

keys.listen((name) => {
  const does = DOES[name];
  if (!does) return false;
  return does() !== false;
});
window.addEventListener("popstate", () => {
  const { filter, at } = fromAddress();
  show(filter, { at, push: false });
});
window.addEventListener("beforeunload", (event) => {
  if (queue.size && !leaving) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") queue.send(true);
  else beat();
});
setInterval(() => document.visibilityState === "visible" && beat(), PULSE);
setInterval(() => document.visibilityState === "visible" && claim(), CLAIM);
byId("filters").addEventListener("submit", (event) => event.preventDefault());

begin();
