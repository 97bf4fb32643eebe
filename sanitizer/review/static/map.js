// The plane of the embeddings: trusted points by label, the members of the case, the suspect; a lasso selects.

import { el, plain } from "./dom.js";

const COLOURS = ["#2f6fde", "#c77700", "#1a7f4b", "#b8357f", "#7a3ec8", "#00798c", "#8a6d3b", "#5a606c"];

/** `members`: [{ id, at, done }]; `chosen(ids)` is called with what the lasso took in. */
export function scatter(plane, members, current, chosen) {
  const canvas = el("canvas.map", { role: "img", tabindex: "-1", width: 760, height: 520, "aria-label": "map of the trusted samples and of the members of this case; the listing below holds the same samples" });
  const labels = [...new Set(plane.points.map(([, , label]) => label))].sort();
  const all = [...plane.points.map(([x, y]) => [x, y]), ...members.filter((m) => m.at).map((m) => m.at)];
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) => [20 + ((x - left) / (right - left || 1)) * (canvas.width - 40), canvas.height - 20 - ((y - low) / (high - low || 1)) * (canvas.height - 40)];
  const context = canvas.getContext("2d");
  let path = null;

  const paint = () => {
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim() || "#000";
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.globalAlpha = 0.55;
    for (const [x, y, label] of plane.points) {
      context.fillStyle = COLOURS[labels.indexOf(label) % COLOURS.length];
      const [a, b] = place([x, y]);
      context.beginPath();
      context.arc(a, b, 3.2, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
    context.lineWidth = 2;
    for (const member of members) {
      if (!member.at) continue;
      const [a, b] = place(member.at);
      context.strokeStyle = member.done ? "#8a909c" : "#d02b20";
      context.beginPath();
      context.rect(a - 5, b - 5, 10, 10); // another shape, not only another colour
      context.stroke();
    }
    const here = members.find((m) => m.id === current)?.at;
    if (here) {
      const [a, b] = place(here);
      context.strokeStyle = ink;
      context.lineWidth = 3;
      context.beginPath();
      context.arc(a, b, 12, 0, 7);
      context.moveTo(a - 20, b);
      context.lineTo(a + 20, b);
      context.moveTo(a, b - 20);
      context.lineTo(a, b + 20);
      context.stroke();
    }
    if (path) {
      context.strokeStyle = ink;
      context.lineWidth = 1.5;
      context.setLineDash([5, 4]);
      context.beginPath();
      path.forEach(([a, b], i) => (i ? context.lineTo(a, b) : context.moveTo(a, b)));
      context.stroke();
      context.setLineDash([]);
    }
  };

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    path = [at(event)];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!path) return;
    path.push(at(event));
    paint();
  });
  canvas.addEventListener("pointerup", () => {
    const drawn = path;
    path = null;
    if (drawn && drawn.length > 4) chosen(members.filter((m) => m.at && inside(place(m.at), drawn)).map((m) => m.id));
    else if (drawn) {
      const near = members.filter((m) => m.at).map((m) => [Math.hypot(place(m.at)[0] - drawn[0][0], place(m.at)[1] - drawn[0][1]), m.id]).sort((a, b) => a[0] - b[0])[0];
      if (near && near[0] < 24) chosen([near[1]]);
    }
    paint();
  });
  paint();
  const legend = el("p.legend.small", {}, ...labels.slice(0, 8).map((label, i) => el("span.key", {}, el("i", { style: { background: COLOURS[i % COLOURS.length] } }), plain(label ?? "no label"))), el("span.key.ring", {}, "this case"));
  return el("figure.plane", {}, canvas, legend);
}

function inside([x, y], polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[a, b], [c, d]] = [polygon[i], polygon[j]];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) odd = !odd;
  }
  return odd;
}
