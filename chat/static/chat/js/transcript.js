// @ts-check
/** The messages of the conversation that is shown, from root to leaf. */

import { byId } from "./dom.js";
import { viewOf } from "./message.js";

export class Transcript {
  /** @param {import("./message_actions.js").MessageActions} actions */
  constructor(actions) {
    this.actions = actions;
    this.element = byId("transcript");
    /** @type {any[]} */
    this.views = [];
    /** @type {any} */
    this.pending = null;
  }

  get isEmpty() {
    return this.views.length === 0 && !this.pending;
  }

  /** @returns {import("./message.js").Message[]} */
  get messages() {
    return this.views.map((view) => view.message);
  }

  /** The answer that is being written, if one is. */
  get streaming() {
    return this.views.findLast((view) => view.isStreaming);
  }

  get lastPrompt() {
    return this.views.findLast((view) => view.message.role === "user")?.message.content;
  }

  /** The last message whose text will not change: what need not be sent again. */
  get lastSettledId() {
    const open = this.views.findIndex((view) => view.isStreaming);
    const settled = open < 0 ? this.views : this.views.slice(0, open);
    return settled.at(-1)?.message.id ?? null;
  }

  /**
   * Replace everything behind `after` by these messages. Where it is null, they are the
   * conversation's last: those before the first of them stay, if it is known here.
   * @param {string | null} after
   * @param {import("./message.js").Message[]} messages
   * @returns {boolean} false where `after` is not shown here
   */
  show(after, messages) {
    const kept = after ? this.indexOf(after) + 1 : Math.max(0, this.indexOf(messages[0]?.id));
    if (after && kept === 0) return false;
    this.forgetPending();
    const known = new Map(this.views.splice(kept).map((view) => [view.message.id, view]));
    for (const message of messages) {
      const view = known.get(message.id) ?? viewOf(message, this.actions);
      if (known.delete(message.id)) view.settle(message);
      this.views.push(view);
      this.element.append(view.element);
    }
    for (const view of known.values()) view.element.remove();
    return true;
  }

  /** The messages that led to the first one shown. */
  prepend(messages) {
    const views = messages.map((message) => viewOf(message, this.actions));
    this.element.prepend(...views.map((view) => view.element));
    this.views.unshift(...views);
  }

  get firstId() {
    return this.views[0]?.message.id ?? null;
  }

  /** A prompt that the server has not taken yet. @param {string} text */
  showPending(text) {
    this.pending = viewOf({ role: "user", content: text }, this.actions);
    this.pending.element.classList.add("is-pending");
    this.element.append(this.pending.element);
  }

  /** A retried answer makes room at once. @param {string} id */
  hideFrom(id) {
    const first = this.views.findIndex((view) => view.message.id === id);
    if (first < 0) return;
    for (const view of this.views.splice(first)) view.element.remove();
  }

  forgetPending() {
    this.pending?.element.remove();
    this.pending = null;
  }

  /** @returns {boolean} false where text is missing: attach again */
  append({ message, at, text }) {
    const view = this.find(message);
    return !view || view.append(at, text);
  }

  /** @returns {boolean} false where some of the reasoning is missing: attach again */
  think({ message, at, text }) {
    const view = this.find(message);
    return !view || view.think(at, text);
  }

  /** @param {string} id @param {"moving" | "moved"} word */
  note(id, word) {
    this.find(id)?.note(word);
  }

  /** @param {import("./message.js").Message} message */
  settle(message) {
    this.find(message.id)?.settle(message);
  }

  /** @param {string | undefined} id */
  indexOf(id) {
    return this.views.findIndex((view) => view.message.id === id);
  }

  /** @param {string} id */
  find(id) {
    return this.views.findLast((view) => view.message.id === id);
  }
}
