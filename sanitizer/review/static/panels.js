// What a sample looks like: pictures painted from numbers, texts and cells as text, beside their nearest trusted neighbours.

import { el, icon, plain, svg, visible } from "./dom.js";
import { count, number, percent, some } from "./words.js";

// --- pictures --------------------------------------------------------------------------------------------------------------

function pixels(image) {
  if (!image.pixels) {
    const raw = atob(image.data);
    image.pixels = Uint8ClampedArray.from(raw, (c) => c.charCodeAt(0));
  }
  return image.pixels;
}

/** RGBA values of a picture; with `other`, of how much they differ. */
function rgba(image, other) {
  const from = pixels(image);
  const against = other && other.width === image.width && other.height === image.height && other.channels === image.channels ? pixels(other) : null;
  const { width, height, channels } = image;
  const out = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const at = i * channels + (channels >= 3 ? c : 0);
      out[i * 4 + c] = against ? Math.min(255, Math.abs(from[at] - against[at]) * 2) : from[at];
    }
    out[i * 4 + 3] = channels === 4 && !against ? from[i * channels + 3] : 255;
  }
  return out;
}

/** Heat: from nothing over blue and red to white, on the picture in grey. */
function hot(heat) {
  const from = pixels(heat);
  const out = new Uint8ClampedArray(heat.width * heat.height * 4);
  for (let i = 0; i < heat.width * heat.height; i++) {
    const h = from[i * heat.channels] / 255;
    out.set([255 * Math.min(1, 0.08 + h * 1.6), 255 * Math.max(0, h * 1.9 - 0.75), 255 * Math.max(0.12, h < 0.4 ? 0.2 + h : h * 2.4 - 1.4), 255], i * 4);
  }
  return out;
}

export function picture(image, { label = "", other = null, heat = false, size = 160, marks = true } = {}) {
  const { width, height } = image;
  const scale = Math.max(1, Math.round(size / Math.max(width, height)));
  const canvas = el("canvas.picture", { role: label ? "img" : null, "aria-label": label || null, "aria-hidden": label ? null : "true", width: width * scale, height: height * scale });
  const context = canvas.getContext("2d");
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(new ImageData(heat ? hot(image) : rgba(image, other), width, height), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width * scale, height * scale);
  if (marks && image.marks?.length && !other) {
    context.strokeStyle = "#ff3b30";
    context.lineWidth = Math.max(1.5, scale / 6);
    for (const [row, column] of image.marks) context.strokeRect(column * scale + 1, row * scale + 1, scale - 2, scale - 2);
  }
  return canvas;
}

// --- texts -----------------------------------------------------------------------------------------------------------------

/** Words that one text has and the other has not, by their longest common subsequence; null when they share too little to compare. */
export function difference(from, to) {
  const cut = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]+/gu) ?? [];
  const [a, b] = [cut(from), cut(to)];
  if (a.length * b.length > 250000) return null;
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  if (table[0][0] < 0.5 * Math.max(a.length, b.length)) return null;
  const out = [];
  const add = (kind, text) => (out.length && out.at(-1).kind === kind ? (out.at(-1).text += text) : out.push({ kind, text }));
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) add("same", a[i++]), j++;
    else if (i < a.length && (j === b.length || table[i + 1][j] >= table[i][j + 1])) add("only", a[i++]);
    else add("missing", b[j++]);
  }
  return out;
}

function differing(pieces) {
  return el("bdi", {}, ...pieces.map(({ kind, text }) => (kind === "same" ? visible(text) : el(kind === "only" ? "ins" : "del", {}, visible(text)))));
}

function words(panel, against, compare) {
  const pieces = compare && against ? difference(panel.text, against.text) : null;
  const rest = panel.cut ? el("span.soft", {}, ` … and ${count(panel.cut)} more characters`) : null;
  return el("div.text", {}, pieces ? differing(pieces) : visible(panel.text, panel.words ?? []), rest);
}

// --- numbers ---------------------------------------------------------------------------------------------------------------

/** Where a value stands among the trusted ones: their histogram, and a line. */
export function spark(stats, value) {
  if (stats?.kind !== "number" || !stats.bins?.length) return null;
  const [width, height] = [96, 22];
  const top = Math.max(...stats.bins);
  const step = width / stats.bins.length;
  const bars = stats.bins.map((n, i) => svg("rect", { x: (i * step).toFixed(1), y: (height - (n / top) * height).toFixed(1), width: (step - 0.6).toFixed(1), height: ((n / top) * height).toFixed(1) }));
  const share = (value - stats.low) / (stats.high - stats.low || 1);
  const beyond = share < 0 || share > 1;
  const at = Math.max(0, Math.min(1, share)) * (width - 2) + 1;
  const line = Number.isFinite(value) ? svg("path", { class: beyond ? "at beyond" : "at", d: `M${at.toFixed(1)} -2V${height + 2}` }) : null;
  return svg("svg", { class: "spark", viewBox: `0 -2 ${width} ${height + 4}`, width, height: height + 4, role: "img", "aria-label": standing(stats, value) }, bars, line);
}

/** In words: how a value compares with the trusted ones. */
export function standing(stats, value) {
  if (!stats || !Number.isFinite(value) || !stats.quantiles?.length) return "";
  const { quantiles } = stats;
  const below = quantiles.filter((q) => q < value).length / quantiles.length;
  if (value > quantiles.at(-1)) return `above every trusted value (at most ${number(quantiles.at(-1))})`;
  if (value < quantiles[0]) return `below every trusted value (at least ${number(quantiles[0])})`;
  return `above ${percent(below)} of the trusted values`;
}

function rarity(stats, value) {
  if (stats?.kind !== "category") return "";
  const total = stats.values.reduce((sum, [, n]) => sum + n, 0);
  const found = stats.values.find(([name]) => name === value);
  return found ? `${percent(found[1] / total)} of the trusted` : "not among the commonest trusted values";
}

function table(sample, neighbours, context) {
  const { cells, label } = sample.panel;
  const near = neighbours.slice(0, 5);
  const head = el("tr", {}, el("th", { scope: "col" }, "column"), el("th.n", { scope: "col" }, "suspect"), el("th", { scope: "col" }, "among trusted"), ...near.map((one, i) => el("th.n", { scope: "col" }, near.length > 1 ? `${i + 1}` : "nearest")));
  const row = (name, value, weighty, middle, others) =>
    el(
      "tr",
      { class: weighty ? "weighty" : "" },
      el("th", { scope: "row" }, name),
      el("td.n.own", {}, weighty ? el("mark", {}, value ?? "—") : (value ?? "—")),
      el("td", {}, middle),
      ...others.map((other) => el("td.n", { class: other !== value && weighty ? "differs" : "" }, brief(other))),
    );
  const lines = [];
  if (label !== null) lines.push(row("label", label, true, el("span.soft", {}, votes(label, near)), near.map((one) => one.label)));
  for (const cell of cells) {
    const stats = context?.columns?.[cell.name];
    const value = cell.value === null || cell.value.trim() === "" ? NaN : Number(cell.value);
    const middle = stats?.kind === "number" ? spark(stats, value) : el("span.soft", {}, rarity(stats, cell.value));
    lines.push(row(cell.name, cell.value, cell.weighty, middle, near.map((one) => one.cells.find((c) => c.name === cell.name)?.value ?? null)));
  }
  return el("div.scroll", { tabindex: "0", role: "region", "aria-label": "cells of the suspect and of its neighbours" }, el("table.cells", {}, el("thead", {}, head), el("tbody", {}, lines)));
}

/** A neighbour's cell: numbers with the digits that matter beside the suspect's. */
function brief(value) {
  if (value === null || value === undefined) return "—";
  const as = Number(value);
  return value.trim() !== "" && Number.isFinite(as) && value.length > 6 ? number(as, 4) : value;
}

function votes(label, near) {
  if (!near.length) return "";
  const same = near.filter((one) => one.label === label).length;
  return `${same} of ${near.length} agree`;
}

// --- ratings ---------------------------------------------------------------------------------------------------------------

function marksOf(pairs, total, kind) {
  const top = Math.max(...pairs.map(([, n]) => n), 1);
  return el("div.marks", {}, ...pairs.map(([mark, n]) => el("div", { class: kind, "aria-label": `mark ${mark}: ${percent(n / total)}` }, el("i", { style: { height: `${Math.round((n / top) * 38) + 1}px` } }), el("span", {}, String(mark)))));
}

function profile(panel, context, weighty) {
  const usual = context?.ratings;
  const trusted = usual?.marks ?? [];
  const total = trusted.reduce((sum, [, n]) => sum + n, 0);
  const all = [...new Set([...trusted.map(([m]) => m), ...panel.marks.map(([m]) => m)])].sort((a, b) => a - b);
  const of = (pairs) => all.map((mark) => [mark, pairs.find(([m]) => m === mark)?.[1] ?? 0]);
  const rows = panel.items.map((one) => {
    const off = one.usual === null ? null : one.rating - one.usual;
    return el(
      "tr",
      { class: weighty.includes(one.item) ? "weighty" : "" },
      el("th", { scope: "row" }, weighty.includes(one.item) ? el("mark", {}, one.item) : one.item),
      el("td.n", {}, number(one.rating)),
      el("td.n.soft", {}, one.usual === null ? "—" : number(one.usual, 3)),
      el("td", {}, off === null ? el("span.soft", {}, "unknown item") : lean(off)),
      el("td.n.soft", {}, count(one.known)),
    );
  });
  const head = ["item", "mark", "usual", "off by", "rated by"].map((name, i) => el("th", { class: [1, 2, 4].includes(i) ? "n" : "", scope: "col" }, name));
  return el(
    "div.profile",
    {},
    el(
      "div.pair",
      {},
      el("figure", {}, el("figcaption", {}, el("b", {}, panel.user), el("span.soft", {}, `${some(panel.count, "rating")}, mean ${number(panel.mean, 3)}`)), marksOf(of(panel.marks), panel.count, "own")),
      el("figure", {}, el("figcaption", {}, el("b", {}, "trusted users"), el("span.soft", {}, usual ? `${middle(usual.counts, 0)} ratings, mean ${middle(usual.means, 2)}` : "unknown")), marksOf(of(trusted), total, "usual")),
    ),
    el("div.scroll", { tabindex: "0", role: "region", "aria-label": "what this user rated" }, el("table.cells", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))),
    panel.more ? el("p.soft.small", {}, `and ${some(panel.more, "item")} more, nearer to what is usual`) : null,
  );
}

const middle = (quantiles, digits) => (quantiles?.length ? Number(quantiles[Math.floor(quantiles.length / 2)]).toFixed(digits) : "—");

function lean(off) {
  const wide = Math.min(50, Math.abs(off) * 12.5);
  const bar = el("i", { style: { width: `${wide}%`, [off < 0 ? "right" : "left"]: "50%" } });
  return el("div.lean", { class: Math.abs(off) >= 1.5 ? "far" : "", role: "img", "aria-label": `${off > 0 ? "+" : ""}${off.toFixed(1)}` }, bar, el("span", {}, `${off > 0 ? "+" : ""}${off.toFixed(1)}`));
}

// --- the bench: the suspect beside its nearest trusted neighbours -----------------------------------------------------------

function shot(panel, caption, options) {
  return el("figure.shot", { class: options.kind }, picture(panel.image, options), el("figcaption", {}, caption));
}

const KINDS = { nearest: "nearest trusted", typical: "trusted, same label" };

/** `sample` has its details or, until they come, what the listing knows; `trusted` are its neighbours' panels. */
export function bench(sample, trusted, context, { compare = false, map = null } = {}) {
  const { panel } = sample;
  const near = trusted.map(({ panel: one }) => one);
  const title = trusted.length ? KINDS[sample.beside?.kind] ?? "trusted" : null;
  if (panel.kind === "image") {
    const own = shot(panel, labelled(sample), { kind: "suspect", size: 192, label: `suspect, labelled ${plain(panel.label)}` });
    const others = near.map((one) =>
      shot(one, compare ? [one.label ?? "", el("span.soft", {}, " difference")] : (one.label ?? ""), { kind: "trusted", size: 96, other: compare ? panel.image : null, label: `trusted, labelled ${plain(one.label)}${compare ? ", difference" : ""}` }),
    );
    const cells = panel.cells.length ? table(sample, near, context) : null;
    return [el("div.shots", {}, el("div.own", {}, el("h2.sub", {}, "suspect"), own), title ? el("div.near", {}, el("h2.sub", {}, title), el("div.row", {}, others)) : null), cells];
  }
  if (panel.kind === "text") {
    const others = near.map((one) => el("div.quote.trusted", {}, tag(one.label), words(one, panel, compare)));
    const cells = panel.cells.length ? table({ ...sample, panel: { ...panel, label: null } }, near, context) : null;
    return [el("h2.sub", {}, "suspect"), el("div.quote.suspect", {}, labelled(sample), words(panel, near[0], compare)), title ? el("h2.sub", {}, title) : null, others, cells];
  }
  if (panel.kind === "vector") {
    const rows = trusted.map(({ panel: one, likeness }) => el("tr", {}, el("th", { scope: "row" }, one.label ?? "—"), el("td.n", {}, number(likeness.distance, 4)), el("td.n", {}, number(likeness.cosine, 3))));
    const head = el("tr", {}, el("th", { scope: "col" }, title ?? "trusted"), el("th.n", { scope: "col" }, "distance"), el("th.n", { scope: "col" }, "cosine"));
    const cells = panel.cells.length ? table({ ...sample, panel: { ...panel, label: null } }, near, context) : null;
    return [
      el(
        "div.vector",
        {},
        map,
        el("div", {}, el("h2.sub", {}, "suspect"), el("p.line", {}, labelled(sample), el("span.soft", {}, `${panel.size} numbers, length ${number(panel.norm, 4)}`)), rows.length ? el("table.cells", {}, el("thead", {}, head), el("tbody", {}, rows)) : null, cells),
      ),
    ];
  }
  if (panel.kind === "profile") return [profile(panel, context, sample.columns ?? [])];
  return [el("h2.sub", {}, "suspect", title ? el("span.soft", {}, ` beside the ${near.length} ${title}`) : null), table(sample, near, context)];
}

export function labelled(sample) {
  if (sample.label === null) return null;
  const now = sample.new_label;
  return el("span.label", {}, now ? [el("s", {}, tag(sample.label)), " ", tag(now)] : tag(sample.label));
}

export const tag = (label) => (label === null || label === undefined ? null : el("b.tag", {}, label));

// --- the listing: one sample in small ----------------------------------------------------------------------------------------

export function small(sample) {
  const { panel } = sample;
  if (panel.kind === "image") return [picture(panel.image, { size: 64, marks: false, label: "" })];
  if (panel.kind === "text") return [el("span.snippet", {}, visible(panel.text, panel.words))];
  if (panel.kind === "profile") {
    return [el("span.name", {}, panel.user), el("span.soft", {}, some(panel.count, "rating")), el("span.soft", {}, `mean ${number(panel.mean, 3)}`), el("span.cells", {}, ...panel.items.slice(0, 4).map((one) => el("span.cell", {}, el("i", {}, one.item), el("b", {}, number(one.rating)))))];
  }
  const shown = panel.cells.slice(0, 5);
  const vector = panel.kind === "vector" ? [el("span", {}, `length ${number(panel.norm, 3)}`), sample.source === null ? null : el("span.soft", {}, sample.source)] : [];
  return [...vector, el("span.cells", {}, ...shown.map((cell) => el("span.cell", { class: cell.weighty ? "weighty" : "" }, el("i", {}, cell.name), el("b", {}, cell.value ?? "—"))))];
}

export function badge(sample) {
  if (sample.proposal) return el("span.badge.waiting", { "aria-label": "waits for a second person" }, icon("waiting"));
  const names = { dropped: "drop", released: "release", relabelled: "relabel" };
  if (sample.state in names) return el("span.badge", { class: sample.state, "aria-label": sample.state }, icon(names[sample.state]));
  return null;
}
