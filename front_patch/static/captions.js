/** Captions by CLIP-GPT of the items on the page, requested many at a time. */

export class Captions {
  /**
   * @param {import("./activity.js").Activity} activity
   * @param {(ids: number[], signal: AbortSignal) => Promise<Map<number, string>>} load
   * @param {() => void} onChange
   */
  constructor(activity, load, onChange) {
    this.activity = activity;
    this.load = load;
    this.onChange = onChange;
    /** @type {Map<number, string>} */
    this.texts = new Map();
    /** @type {Set<number>} items whose caption was requested */
    this.pending = new Set();
    this.requests = 0;
  }

  /** @param {number[]} ids */
  async request(ids) {
    const { texts, pending } = this;
    const wanted = [...new Set(ids)].filter((id) => !texts.has(id) && !pending.has(id));
    if (wanted.length === 0) return;
    wanted.forEach((id) => pending.add(id));
    this.onChange();
    const label = wanted.length === 1 ? "Captioning an image" : `Captioning ${wanted.length} images`;
    this.requests += 1;
    const found = await this.activity.run(
      `captions ${this.requests}`,
      label,
      (signal) => this.load(wanted, signal),
      () => this.request(wanted),
    );
    // If the index has changed in between, these are the maps of the old one.
    wanted.forEach((id) => pending.delete(id));
    found?.forEach((text, id) => texts.set(id, text));
    this.onChange();
  }

  /** Aborts requests, and removes the errors of others. */
  stop() {
    this.activity.stopAll("captions ");
  }

  /** Ids mean other images in another index. */
  forget() {
    this.stop();
    this.texts = new Map();
    this.pending = new Set();
  }
}
