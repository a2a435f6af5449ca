// @ts-check
/** The messages of the conversation that is shown, from root to leaf. */

import { ComparisonView } from "./comparison.js";
import { byId } from "./dom.js";
import { AnswerView, PromptView, pendingPrompt, viewOf } from "./message.js";

/**
 * @import { Piece } from "../../../frontend/types/protocol"
 * @import { Attached } from "./chips.js"
 * @import { Message, View } from "./message.js"
 */

// More than fill a screen.
const NUM_LAST = 12;

export class Transcript {
  /**
   * @param {import("./message_actions.js").MessageActions} actions
   * @param {import("./nearness.js").Nearness} nearness
   */
  constructor(actions, nearness) {
    this.actions = actions;
    this.nearness = nearness;
    this.element = byId("transcript");
    /** @type {View[]} */
    this.views = [];
    /** @type {ComparisonView | null} answers side by side, behind all views */
    this.comparison = null;
    /** @type {View | null} */
    this.pending = null;
  }

  get isEmpty() {
    return this.views.length === 0 && !this.pending;
  }

  /** @returns {import("./message.js").Message[]} */
  get messages() {
    const chosen = this.find(this.comparison?.comparison?.chosen);
    return [...this.views, ...(chosen ? [chosen] : [])].map((view) => view.message);
  }

  /** The answers that are being written. */
  get streaming() {
    const all = [...this.views, ...(this.comparison?.views ?? [])];
    return all.filter((view) => view.isStreaming);
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
   * @param {import("./comparison.js").Comparison | null} [comparison] of which the last
   *   message is one of the answers
   * @returns {boolean} false where `after` is not shown here
   */
  show(after, messages, comparison = null) {
    const kept = after ? this.indexOf(after) + 1 : Math.max(0, this.indexOf(messages[0]?.id));
    if (after && kept === 0) return false;
    this.forgetPending();
    const known = new Map(this.views.splice(kept).map((view) => [view.message.id, view]));
    for (const message of comparison ? messages.slice(0, -1) : messages) {
      const view = known.get(message.id) ?? viewOf(message, this.actions);
      if (known.delete(message.id)) view.settle(message);
      this.views.push(view);
      this.element.append(view.element);
      this.nearness.watch(view);
    }
    for (const view of known.values()) this.drop(view);
    this.markLast();
    this.compare(comparison);
    return true;
  }

  /** By a class: `:nth-last-child` has all messages styled anew with each that comes. */
  markLast() {
    const first = this.views.length - NUM_LAST;
    for (const [index, { element }] of this.views.entries()) {
      element.classList.toggle("is-late", index >= first);
    }
  }

  /** @param {import("./comparison.js").Comparison | null} comparison */
  compare(comparison) {
    if (this.comparison?.comparison?.prompt !== comparison?.prompt) {
      this.comparison?.element.remove();
      this.comparison = comparison ? new ComparisonView(this.actions) : null;
      if (this.comparison) this.element.append(this.comparison.element);
    }
    // By a class: `:has` has all messages styled anew with each word that comes.
    this.element.classList.toggle("is-comparing", comparison !== null);
    if (comparison) this.comparison?.show(comparison);
  }

  /** The messages that led to the first one shown. @param {Message[]} messages */
  prepend(messages) {
    const views = messages.map((message) => viewOf(message, this.actions, true));
    this.element.prepend(...views.map((view) => view.element));
    this.views.unshift(...views);
    for (const view of views) this.nearness.watch(view);
  }

  /** Take a message off the page. @param {import("./message.js").View} view */
  drop(view) {
    this.nearness.forget(view);
    view.element.remove();
  }

  get firstId() {
    return this.views[0]?.message.id ?? null;
  }

  /**
   * A prompt that the server has not taken yet.
   * @param {string} text
   * @param {Attached[]} attached
   */
  showPending(text, attached) {
    this.pending = new PromptView(pendingPrompt(text, attached), this.actions);
    this.pending.element.classList.add("is-pending");
    this.element.append(this.pending.element);
  }

  /** A retried answer makes room at once. @param {string} id */
  hideFrom(id) {
    const first = this.views.findIndex((view) => view.message.id === id);
    if (first < 0) return;
    for (const view of this.views.splice(first)) this.drop(view);
  }

  forgetPending() {
    this.pending?.element.remove();
    this.pending = null;
  }

  /** @param {Piece} piece @returns {boolean} false where text is missing: attach again */
  append({ message, at, text }) {
    const view = this.findAnswer(message);
    return !view || view.append(at, text);
  }

  /**
   * @param {Piece} piece
   * @returns {boolean} false where some of the reasoning is missing: attach again
   */
  think({ message, at, text }) {
    const view = this.findAnswer(message);
    return !view || view.think(at, text);
  }

  /** @param {string} id @param {"moving" | "moved"} word */
  note(id, word) {
    this.findAnswer(id)?.note(word);
  }

  /** @param {import("./message.js").Message} message */
  settle(message) {
    this.find(message.id)?.settle(message);
    this.comparison?.showVotes();
  }

  /** @param {string | undefined} id */
  indexOf(id) {
    return this.views.findIndex((view) => view.message.id === id);
  }

  /** @param {string} id */
  findAnswer(id) {
    const view = this.find(id);
    return view instanceof AnswerView ? view : undefined;
  }

  /** @param {string | undefined} id */
  find(id) {
    const beside = this.comparison?.views.find((view) => view.message.id === id);
    return beside ?? this.views.findLast((view) => view.message.id === id);
  }
}
