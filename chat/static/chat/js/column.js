// @ts-check
/** An answer that stands side by side with others, and what can be done with it there. */

import { make } from "./dom.js";
import { AnswerView } from "./message.js";
import { actionButton } from "./toolbar.js";
import { say } from "./words.js";

/** @param {number} index */
export const letterOf = (index) => String.fromCharCode(65 + index);

/**
 * @typedef {object} Column
 * @property {string} letter
 * @property {Record<string, number>} parameters of this column alone
 * @property {boolean} isChosen the conversation goes on from here
 */

/** "temperature 0.2 · seed 7" @param {Record<string, number>} parameters */
const described = (parameters) =>
  Object.entries(parameters ?? {})
    .map(([name, value]) => `${name} ${value}`)
    .join(" · ");

export class ColumnView extends AnswerView {
  /** Say which column it is. @param {Column} column */
  stand(column) {
    this.column = column;
    const letter = make("span", { className: "letter", textContent: column.letter });
    const detail = make("small", {}, described(column.parameters));
    this.byline.replaceChildren(letter, this.message.model, detail);
    this.element.classList.toggle("is-chosen", column.isChosen);
    this.showFoot();
  }

  get letter() {
    return this.column?.letter ?? "";
  }

  get growingParts() {
    const { id } = this.message;
    const label = say("stopAnswer", { letter: this.letter });
    return [actionButton("stop", "stop", label, () => this.actions.stop(id))];
  }

  get settledParts() {
    const choose = this.message.content && this.chooseButton();
    return [...this.readingParts, ...this.judgingParts, ...this.ending(), choose];
  }

  /** Another version in this column, of its own model. */
  retry() {
    this.actions.retry(this.message.id, "");
  }

  chooseButton() {
    const isChosen = this.column?.isChosen ?? false;
    const word = say(isChosen ? "goesOnWith" : "goOnWith");
    const choose = make("button", { type: "button", className: "button choose" }, word);
    choose.dataset.action = "choose";
    choose.setAttribute("aria-pressed", String(isChosen));
    choose.onclick = () => isChosen || this.actions.choose(this.message.id, "choose");
    return choose;
  }
}
