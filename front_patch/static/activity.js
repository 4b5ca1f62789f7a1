/** Requests in progress, and errors. */

import { BackendError } from "./backend.js";
import { button, h } from "./dom.js";

const SPINNER_AFTER_MS = 200;

/**
 * Runs requests. On each channel only the newest one counts: an older one is aborted and its result dropped.
 * A request that takes longer than 200 ms shows a spinner, one that fails an error message, with a button to retry
 * where that can help. Several requests that fail for the same reason show one message.
 */
export class Activity {
  constructor() {
    this.progress = h("p", { class: "progress", role: "status" });
    this.errors = h("div", { class: "errors", role: "alert" });
    this.element = h("div", { class: "activity" }, this.progress, this.errors);
    /** @type {Map<string, {controller: AbortController, label: string, slow: boolean}>} */
    this.running = new Map();
    /** @type {Map<string, {message: string, retry: (() => void) | null}>} */
    this.failed = new Map();
  }

  /**
   * @template Result
   * @param {string} channel
   * @param {string} label shown beside the spinner
   * @param {(signal: AbortSignal) => Promise<Result>} task
   * @param {() => void} retry
   * @returns {Promise<Result | undefined>} undefined where the task failed or a newer one was started
   */
  async run(channel, label, task, retry) {
    this.stop(channel);
    const job = { controller: new AbortController(), label, slow: false };
    this.running.set(channel, job);
    const timer = setTimeout(() => {
      job.slow = true;
      this.#showProgress();
    }, SPINNER_AFTER_MS);
    try {
      const result = await task(job.controller.signal);
      return this.running.get(channel) === job ? result : undefined;
    } catch (error) {
      if (this.running.get(channel) === job) this.#fail(channel, error, retry);
      return undefined;
    } finally {
      clearTimeout(timer);
      if (this.running.get(channel) === job) this.running.delete(channel);
      this.#showProgress();
    }
  }

  /**
   * Aborts the request on a channel, and removes its error.
   *
   * @param {string} channel
   */
  stop(channel) {
    this.running.get(channel)?.controller.abort();
    this.running.delete(channel);
    if (this.failed.delete(channel)) this.#showErrors();
  }

  /**
   * Stops every channel whose name starts with this.
   *
   * @param {string} prefix
   */
  stopAll(prefix) {
    const channels = [...this.running.keys(), ...this.failed.keys()];
    channels.filter((channel) => channel.startsWith(prefix)).forEach((channel) => this.stop(channel));
  }

  #showProgress() {
    const labels = [...this.running.values()].filter(({ slow }) => slow).map(({ label }) => label);
    this.progress.replaceChildren(...[...new Set(labels)].map((label) => h("span", { class: "job" }, label)));
  }

  #showErrors() {
    const messages = new Set([...this.failed.values()].map(({ message }) => message));
    this.errors.replaceChildren(...[...messages].map((message) => this.#errorLine(message)));
  }

  /** @param {string} message */
  #errorLine(message) {
    const failed = [...this.failed].filter(([, failure]) => failure.message === message);
    const tryAgain = () => {
      failed.forEach(([channel]) => this.stop(channel));
      failed.forEach(([, { retry }]) => retry?.());
    };
    const canRetry = failed.some(([, { retry }]) => retry !== null);
    return h("p", { class: "error" }, `${message} `, canRetry ? button("Try again", tryAgain) : null);
  }

  /**
   * @param {string} channel
   * @param {unknown} error
   * @param {() => void} retry
   */
  #fail(channel, error, retry) {
    const message = error instanceof Error ? error.message : String(error);
    const canHelp = error instanceof BackendError && error.retryable;
    this.failed.set(channel, { message, retry: canHelp ? retry : null });
    this.#showErrors();
  }
}
