// Numbers and facts as people read them.

const UP = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

export function p(value) {
  if (value === null || value === undefined) return "—";
  if (value <= 1e-300) return "< 10⁻³⁰⁰";
  if (value >= 1e-3) return String(Number(value.toPrecision(2)));
  const [mantissa, exponent] = value.toExponential(0).split("e");
  const power = `10${[...String(Number(exponent))].map((c) => UP[c]).join("")}`;
  return mantissa === "1" ? power : `${mantissa}·${power}`;
}

export function percent(share) {
  if (share === null || share === undefined) return "—";
  const value = 100 * share;
  if (value === 0) return "0 %";
  if (value > 99 && value < 100) return `${Math.min(99.9, value).toFixed(1)} %`;
  return value >= 9.95 ? `${value.toFixed(0)} %` : value >= 0.95 ? `${value.toFixed(1)} %` : `${Number(value.toPrecision(1))} %`;
}

export const count = (n) => Number(n).toLocaleString("en-GB").replaceAll(",", " ");

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "—";
  return Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

export function minutes(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "";
  if (value < 1) return "under a minute";
  if (value < 90) return `about ${Math.round(value)} min`;
  return value < 60 * 36 ? `about ${Math.round(value / 60)} h` : `about ${Math.round(value / 1440)} days`;
}

export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

export function moment(time) {
  return new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

export const some = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const DONE = { drop: "dropped", release: "released", relabel: "relabelled", approve: "agreed", undo: "taken back" };
export const STATE = { drop: "dropped", release: "released", relabel: "relabelled" };
export const CAUSES = ["backdoor", "label-flip", "duplicate-flood", "outlier", "feature-collision", "source", "shilling", "expectation"];
export const colour = (cause) => `c${CAUSES.includes(cause) ? CAUSES.indexOf(cause) : 8}`;

export const short = (digest) => {
  const plain = String(digest ?? "").replace(/^sha256:/, "");
  return plain.length > 14 ? `${plain.slice(0, 8)}…${plain.slice(-4)}` : plain;
};
