// Everything that the page shows is built here, node by node: text stays text, whatever it says.

const NAMES = new Map([
  [0x00, "NUL"], [0x07, "BEL"], [0x08, "BS"], [0x09, "TAB"], [0x0a, "LF"], [0x0d, "CR"], [0x1b, "ESC"], [0x7f, "DEL"], [0xad, "SHY"],
  [0x061c, "ALM"], [0x200b, "ZWSP"], [0x200c, "ZWNJ"], [0x200d, "ZWJ"], [0x200e, "LRM"], [0x200f, "RLM"], [0x2028, "LS"], [0x2029, "PS"],
  [0x202a, "LRE"], [0x202b, "RLE"], [0x202c, "PDF"], [0x202d, "LRO"], [0x202e, "RLO"], [0x2060, "WJ"], [0x2066, "LRI"], [0x2067, "RLI"],
  [0x2068, "FSI"], [0x2069, "PDI"], [0xfeff, "BOM"],
]);

// control, format, private, unassigned and lone surrogate code points, line separators, everything that renderers ignore,
// and towers of combining marks, which would paint over their neighbours
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|\p{M}{4,}/gu;

function sign(found) {
  const code = found.codePointAt(0);
  if (found.length > 1 && /^\p{M}/u.test(found)) return `${[...found].length} marks`;
  return NAMES.get(code) ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** `text` as one line of a string, for places that take no nodes (labels for screen readers, titles). */
export function plain(text) {
  return String(text ?? "").replace(UNSEEN, (found) => `⟨${sign(found)}⟩`);
}

/** `text` as nodes, isolated from the direction of what surrounds it, with every character that hides made visible. */
export function visible(text, marks = []) {
  const out = document.createElement("bdi");
  let at = 0;
  const wanted = String(text ?? "");
  for (const [start, end] of spans(wanted, marks)) {
    append(out, wanted.slice(at, start));
    const mark = document.createElement("mark");
    append(mark, wanted.slice(start, end));
    out.append(mark);
    at = end;
  }
  append(out, wanted.slice(at));
  return out;
}

function append(parent, text) {
  let at = 0;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > at) parent.append(text.slice(at, found.index));
    const chip = document.createElement("span");
    chip.className = "ctl";
    chip.textContent = sign(found[0]);
    parent.append(chip);
    if (found[0] === "\n") parent.append(document.createElement("br"));
    at = found.index + found[0].length;
  }
  if (at < text.length) parent.append(text.slice(at));
}

/** Where one of `words` stands in `text`, in any case, longest first, without overlap. */
function spans(text, words) {
  const lower = text.toLowerCase();
  if (lower.length !== text.length) return [];
  const found = [];
  for (const word of [...words].map((w) => w.toLowerCase()).filter(Boolean).sort((a, b) => b.length - a.length)) {
    for (let at = lower.indexOf(word); at >= 0 && found.length < 200; at = lower.indexOf(word, at + word.length)) {
      if (!found.some(([start, end]) => at < end && at + word.length > start)) found.push([at, at + word.length]);
    }
  }
  return found.sort((a, b) => a[0] - b[0]);
}

/**
 * An element. `given`: `class`, `on` (event -> listener), `style` (property -> value), `data`, and attributes; false and null are left out.
 * Children that are strings become visible text.
 */
export function el(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  set(node, given);
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : isPlain(child) ? String(child) : visible(child));
  }
  return node;
}

const OURS = /^[\x20-\x7e·–—…×≤≥→✓“”⁰¹²³⁴⁵⁶⁷⁸⁹⁻]*$/u;
function isPlain(text) {
  return OURS.test(String(text));
}

function set(node, given) {
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (key === "class") node.className = `${node.className} ${value}`.trim();
    else if (key === "style") for (const [property, to] of Object.entries(value)) node.style.setProperty(property, to);
    else if (key === "data") for (const [name, to] of Object.entries(value)) node.dataset[name] = to;
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : plain(value));
  }
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, given = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(given)) if (value !== null && value !== undefined) node.setAttribute(key, String(value));
  for (const child of children.flat(2)) if (child) node.append(child);
  return node;
}

const ICONS = {
  drop: "M5 5l10 10M15 5L5 15",
  release: "M4 10.5l4 4 8-9",
  relabel: "M4 16l1-4 8-8 3 3-8 8-4 1zM11 6l3 3",
  skip: "M6 4l6 6-6 6M14 4v12",
  undo: "M8 5L4 9l4 4M4 9h7a4 4 0 010 8H9",
  waiting: "M6 3h8M6 17h8M7 3c0 4 6 4 6 7s-6 3-6 7M13 3c0 4-6 4-6 7s6 3 6 7",
  note: "M4 4h12v9H9l-4 4v-4H4z",
  flag: "M5 17V3h10l-2.5 3.5L15 10H5",
  audit: "M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM11 13.5l2 2 3.5-4",
  search: "M9 4a5 5 0 100 10A5 5 0 009 4zM13 13l4 4",
  help: "M7.5 7.5a2.5 2.5 0 113.5 2.3c-.7.3-1 .8-1 1.7M10 14.5v.5",
  left: "M10 6.5a3.5 3.5 0 100 7 3.5 3.5 0 000-7z",
  person: "M10 4a3 3 0 100 6 3 3 0 000-6zM4 17c0-3.5 2.7-5.5 6-5.5s6 2 6 5.5",
  zoom: "M9 4a5 5 0 100 10A5 5 0 009 4zM13 13l4 4M9 7v4M7 9h4",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  menu: "M4 6h12M4 10h12M4 14h12",
  close: "M5 5l10 10M15 5L5 15",
  diff: "M4 4h8v8H4zM8 8h8v8H8z",
};

export function icon(name) {
  const path = svg("path", { d: ICONS[name] ?? ICONS.left });
  const node = svg("svg", { viewBox: "0 0 20 20", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" }, path);
  return node;
}

/** Puts `children` in the place of what `parent` holds. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}

export const byId = (id) => document.getElementById(id);
