/** What the page is busy with, and what went wrong. */

import { button, h } from "./dom.js";

const SPINNER_AFTER_MS = 200;

/**
 * Runs requests. On each channel the newest one counts: an older one is aborted, and its answer is never seen.
 * What takes longer than 200 ms shows a spinner; what fails is told in words, with a button to try again.
 */
export class Activity {
  constructor() {
    this.progress = h("p", { class: "progress", role: "status" });
    this.errors = h("div", { class: "errors", role: "alert" });
    this.element = h("div", { class: "activity" }, this.progress, this.errors);
    /** @type {Map<string, {controller: AbortController, label: string, slow: boolean}>} */
    this.running = new Map();
    /** @type {Map<string, HTMLElement>} */
    this.failed = new Map();
  }

  /**
   * @template Answer
   * @param {string} channel
   * @param {string} label what is being done, as a person would say it
   * @param {(signal: AbortSignal) => Promise<Answer>} task
   * @param {() => void} again
   * @returns {Promise<Answer | undefined>} undefined where the task failed or a newer one came
   */
  async run(channel, label, task, again) {
    this.stop(channel);
    const job = { controller: new AbortController(), label, slow: false };
    this.running.set(channel, job);
    const timer = setTimeout(() => {
      job.slow = true;
      this.#showProgress();
    }, SPINNER_AFTER_MS);
    try {
      const answer = await task(job.controller.signal);
      return this.running.get(channel) === job ? answer : undefined;
    } catch (error) {
      if (this.running.get(channel) === job) this.#fail(channel, error, again);
      return undefined;
    } finally {
      clearTimeout(timer);
      if (this.running.get(channel) === job) this.running.delete(channel);
      this.#showProgress();
    }
  }

  /**
   * Drops what runs on a channel, and what went wrong there.
   *
   * @param {string} channel
   */
  stop(channel) {
    this.running.get(channel)?.controller.abort();
    this.running.delete(channel);
    this.failed.get(channel)?.remove();
    this.failed.delete(channel);
  }

  /**
   * Drops every channel whose name begins so.
   *
   * @param {string} start
   */
  stopAll(start) {
    const channels = [...this.running.keys(), ...this.failed.keys()];
    channels.filter((channel) => channel.startsWith(start)).forEach((channel) => this.stop(channel));
  }

  #showProgress() {
    const labels = [...this.running.values()].filter(({ slow }) => slow).map(({ label }) => label);
    this.progress.replaceChildren(...labels.map((label) => h("span", { class: "job" }, label)));
  }

  /**
   * @param {string} channel
   * @param {unknown} error
   * @param {() => void} again
   */
  #fail(channel, error, again) {
    const message = error instanceof Error ? error.message : String(error);
    const tryAgain = () => {
      this.stop(channel);
      again();
    };
    const line = h("p", { class: "error" }, `${message} `, button("Try again", tryAgain));
    this.failed.set(channel, line);
    this.errors.append(line);
  }
}
