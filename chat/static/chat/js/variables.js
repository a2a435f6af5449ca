// @ts-check
/** A saved prompt's `{{name}}`s: a small form asks for them. */

import { byId, make } from "./dom.js";
import { enableSheet } from "./sheets.js";

const VARIABLE = /\{\{\s*([^{}\n]{1,60}?)\s*\}\}/g;

/** @param {string} text @returns {string[]} each once, in order */
export const variablesOf = (text) => [
  ...new Set([...text.matchAll(VARIABLE)].map((found) => found[1])),
];

/** @param {string} text @param {Map<string, string>} values */
export const filledIn = (text, values) =>
  text.replace(VARIABLE, (whole, name) => values.get(name) ?? whole);

export class VariablesForm {
  constructor() {
    this.dialog = byId("variables", HTMLDialogElement);
    this.fields = byId("variables-fields");
    this.title = byId("variables-title");
    this.form = byId("variables-form");
    enableSheet(this.dialog);
  }

  /**
   * The text with what was answered; null where nobody wanted to.
   * @param {string} title
   * @param {string} text
   * @returns {Promise<string | null>}
   */
  ask(title, text) {
    const names = variablesOf(text);
    if (!names.length) return Promise.resolve(text);
    this.title.textContent = title;
    this.fields.replaceChildren(...names.map((name, index) => field(name, index)));
    return new Promise((resolve) => {
      /** @type {string | null} */
      let filled = null;
      this.form.onsubmit = () => {
        const answers = [...this.fields.querySelectorAll("textarea")].map((each) => each.value);
        filled = filledIn(text, new Map(names.map((name, index) => [name, answers[index]])));
      };
      this.dialog.onclose = () => resolve(filled);
      this.dialog.showModal();
      this.fields.querySelector("textarea")?.focus();
    });
  }
}

/** @param {string} name @param {number} index */
function field(name, index) {
  const id = `variable-${index}`;
  const label = make("label", { htmlFor: id, textContent: name, dir: "auto" });
  const input = make("textarea", { id, className: "field", rows: 1, required: true, dir: "auto" });
  // Enter is done; a longer answer has its line breaks by Shift and Enter.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    input.form?.requestSubmit();
  });
  return make("div", { className: "setup-field" }, label, input);
}
