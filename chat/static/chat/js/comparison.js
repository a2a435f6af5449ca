// @ts-check
/** Answers of several models to one prompt, side by side, and the vote between them. */

import { ColumnView, letterOf } from "./column.js";
import { make } from "./dom.js";
import { say } from "./words.js";

/** @import { Outcome } from "../../../frontend/types/protocol" */

/**
 * @typedef {object} Comparison
 * @property {string} prompt
 * @property {"" | Outcome} outcome
 * @property {string | null} winner
 * @property {string} chosen the answer with which the conversation goes on
 * @property {import("./message.js").Message[]} messages
 * @property {Record<string, Record<string, number>>} parameters by message
 */

export class ComparisonView {
  /** @param {import("./message_actions.js").MessageActions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Comparison | null} */
    this.comparison = null;
    /** @type {ColumnView[]} */
    this.views = [];
    this.columns = make("div", { className: "columns" });
    this.votes = make("div", { className: "votes" });
    this.votes.setAttribute("role", "group");
    this.votes.setAttribute("aria-label", say("voteQuestion"));
    const parts = [this.columns, this.votes];
    this.element = make("section", { className: "comparison" }, ...parts);
    this.element.setAttribute("aria-label", say("sideBySide"));
  }

  /** @param {Comparison} comparison */
  show(comparison) {
    this.comparison = comparison;
    const focused = this.views.findIndex((view) => view.element.contains(document.activeElement));
    const known = new Map(this.views.map((view) => [view.message.id, view]));
    this.views = comparison.messages.map((message, index) => {
      const view = known.get(message.id) ?? new ColumnView(message, this.actions);
      const parameters = comparison.parameters[message.id];
      const isChosen = message.id === comparison.chosen;
      view.stand({ letter: letterOf(index), parameters, isChosen });
      if (known.has(message.id)) view.settle(message);
      return view;
    });
    // Moved in the page, an element would lose the focus.
    const elements = this.views.map((view) => view.element);
    if (elements.some((element, index) => this.columns.children[index] !== element)) {
      this.columns.replaceChildren(...elements);
      elements[focused]?.focus({ preventScroll: true });
    }
    this.columns.style.setProperty("--columns", String(this.views.length));
    this.showVotes();
  }

  /** Votes are taken once all answers are there. */
  showVotes() {
    if (!this.comparison) return;
    const { prompt, outcome, winner } = this.comparison;
    const isOpen = !this.views.some((view) => view.isStreaming);
    const focused = [...this.votes.children].findIndex((vote) => vote === document.activeElement);
    /** @param {string} label @param {Outcome} voted @param {string | null} id */
    const button = (label, voted, id) => {
      const isVoted = outcome === voted && winner === id;
      const element = make("button", { type: "button", className: "button" }, label);
      element.disabled = !isOpen;
      element.setAttribute("aria-pressed", String(isVoted));
      element.onclick = () => this.actions.vote(prompt, voted, id);
      return element;
    };
    this.votes.replaceChildren(
      ...this.views.map(({ message }, index) =>
        button(say("voteFor", { letter: letterOf(index) }), "winner", message.id),
      ),
      button(say("voteTie"), "tie", null),
      button(say("voteBad"), "all_bad", null),
    );
    if (focused >= 0) /** @type {HTMLElement} */ (this.votes.children[focused])?.focus();
  }
}
