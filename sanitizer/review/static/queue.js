// Decisions on their way to the server: shown at once, sent in batches, in order, each under a token, until the server says they are durable.

import { Refusal, Unreachable, post, token } from "./net.js";

const PAUSE = 40; // milliseconds in which decisions gather
const MOST = 40; // decisions of one request
const LONGEST = 8000; // milliseconds between two tries when the server is away

export class Queue {
  /** `told(answer, batch)` after each answer; `lost(batch, error)` when the server refused a request as a whole; `waits(n, away)` as things change. */
  constructor({ told, lost, waits }) {
    this.told = told;
    this.lost = lost;
    this.waits = waits;
    this.pending = [];
    this.flying = null;
    this.timer = null;
    this.idle = [];
  }

  get size() {
    return this.pending.length + (this.flying?.length ?? 0);
  }

  /** `members` maps a sample to the event that it stood under when the author saw it; null: under the author's own decision before this one. */
  add(command, members = null) {
    this.pending.push({ command: { token: token(), ...command }, members });
    this.waits(this.size, false);
    this.schedule(this.pending.length >= MOST ? 0 : PAUSE);
  }

  has(sample) {
    return [...(this.flying ?? []), ...this.pending].some((one) => one.members?.has(sample));
  }

  schedule(after) {
    if (this.flying || this.timer !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.send();
    }, after);
  }

  /** Everything that may travel together: a second decision on a sample waits until the first one has its number. */
  take() {
    const batch = [];
    const seen = new Set();
    while (this.pending.length && batch.length < MOST) {
      const one = this.pending[0];
      const touches = one.members ? [...one.members.keys()] : null;
      if (touches ? touches.some((id) => seen.has(id)) || seen.has("all") : seen.size) break;
      (touches ?? ["all"]).forEach((id) => seen.add(id));
      batch.push(this.pending.shift());
    }
    return batch;
  }

  async send(keepalive = false) {
    if (this.flying || !this.pending.length) return;
    this.flying = this.take();
    let wait = 250;
    for (;;) {
      try {
        const commands = this.flying.map(({ command, members }) => (members ? { ...command, members: [...members] } : command));
        const answer = await post("decide", { commands }, { keepalive });
        const batch = this.flying;
        this.flying = null;
        this.settle(answer, batch);
        break;
      } catch (error) {
        if (error instanceof Unreachable) {
          this.waits(this.size, true);
          await new Promise((resolve) => setTimeout(resolve, wait));
          wait = Math.min(wait * 2, LONGEST);
          continue;
        }
        if (!(error instanceof Refusal)) throw error;
        const batch = this.flying;
        this.flying = null;
        this.lost(batch, error);
        break;
      }
    }
    this.waits(this.size, false);
    if (this.pending.length) this.schedule(0);
    else this.idle.splice(0).forEach((resolve) => resolve());
  }

  settle(answer, batch) {
    const events = new Map();
    answer.outcomes.forEach((outcome, i) => {
      if (outcome.ok) for (const id of batch[i].members?.keys() ?? []) events.set(id, outcome.event);
    });
    for (const one of this.pending) {
      for (const [id, before] of one.members ?? []) if (before === null && events.has(id)) one.members.set(id, events.get(id));
    }
    this.told(answer, batch);
  }

  /** Resolves when everything is durable. */
  async flush() {
    if (!this.size) return;
    const done = new Promise((resolve) => this.idle.push(resolve));
    clearTimeout(this.timer);
    this.timer = null;
    this.send();
    await done;
  }
}
