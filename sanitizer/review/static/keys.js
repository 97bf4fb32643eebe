// One key, one thing to do.  Every key can be changed or switched off (WCAG 2.1.4); nothing happens while somebody types.

export const ACTIONS = [
  ["next", "j", "next sample"],
  ["previous", "k", "previous sample"],
  ["drop", "x", "drop: keep it out of every release"],
  ["release", "r", "release: let it in as it is"],
  ["relabel", "l", "relabel: let it in with another label"],
  ["skip", "s", "skip: decide it later"],
  ["undo", "u", "take the last decision back, as often as you like"],
  ["dropCase", "X", "drop everything that is left of the case"],
  ["releaseCase", "R", "release everything that is left of the case"],
  ["relabelCase", "L", "relabel everything that is left of the case"],
  ["audit", "a", "audit: decide a random sample, apply it to the rest"],
  ["nextCase", "]", "next case"],
  ["previousCase", "[", "previous case"],
  ["select", " ", "select, to decide several together"],
  ["selectAll", "A", "select all that are shown"],
  ["note", "n", "write a note"],
  ["flag", "f", "ask for a second reviewer"],
  ["agree", "y", "agree with what somebody proposed"],
  ["search", "/", "search"],
  ["zoom", "z", "zoom"],
  ["compare", "d", "show differences to the neighbours"],
  ["help", "?", "this list"],
];

const DEFAULTS = Object.fromEntries(ACTIONS.map(([name, key]) => [name, key]));
const ARROWS = { ArrowRight: "next", ArrowLeft: "previous" };

export class Keys {
  constructor(owner) {
    this.place = `sanitizer.keys.${owner}`;
    this.on = true;
    this.map = { ...DEFAULTS };
    try {
      const kept = JSON.parse(localStorage.getItem(this.place) ?? "{}");
      this.on = kept.on !== false;
      for (const [name, key] of Object.entries(kept.map ?? {})) if (name in DEFAULTS && typeof key === "string") this.map[name] = key;
    } catch (error) {
      console.warn("the kept keys cannot be read; these are the usual ones", error);
    }
  }

  keep() {
    localStorage.setItem(this.place, JSON.stringify({ on: this.on, map: this.map }));
  }

  /** Gives `key` to `name`; whoever had it gets the one that becomes free. */
  assign(name, key) {
    const other = Object.keys(this.map).find((one) => this.map[one] === key && one !== name);
    if (other) this.map[other] = this.map[name];
    this.map[name] = key;
    this.keep();
  }

  reset() {
    this.map = { ...DEFAULTS };
    this.on = true;
    this.keep();
  }

  shown(name) {
    const key = this.map[name];
    return key === " " ? "space" : key;
  }

  /** Calls `act(name)` for what a key means; `act` answers whether it did something. */
  listen(act) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
      const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (typing) return;
      if (event.key === "Escape") {
        if (act("escape")) event.preventDefault();
        return;
      }
      if (event.key in ARROWS) {
        if (act(ARROWS[event.key])) event.preventDefault();
        return;
      }
      if (!this.on && event.key !== this.map.help) return;
      const onControl = event.target.closest?.("button, a, summary");
      if (onControl && (event.key === " " || event.key === "Enter")) return; // they press what has the focus
      const name = Object.keys(this.map).find((one) => this.map[one] === event.key);
      if (name && act(name)) event.preventDefault();
    });
  }
}
