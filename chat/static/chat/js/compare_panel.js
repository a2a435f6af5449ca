// @ts-check
/** Where one chooses the models that are asked side by side, each with its parameters. */

import { letterOf } from "./column.js";
import { byId, iconButton, make, within } from "./dom.js";
import { say } from "./words.js";

const MOST = 4;

/** @import { Slot } from "../../../frontend/types/protocol" */

/**
 * @typedef {object} Field
 * @property {Exclude<keyof Slot, "model">} name
 * @property {string} word
 * @property {string} min
 * @property {string} [max]
 * @property {string} step
 */

/** @type {Field[]} */
const PARAMETERS = [
  { name: "temperature", word: "temperature", min: "0", max: "2", step: "any" },
  { name: "top_p", word: "topP", min: "0.01", max: "1", step: "any" },
  { name: "max_tokens", word: "maxTokens", min: "1", step: "1" },
  { name: "seed", word: "seed", min: "0", step: "1" },
];

export class ComparePanel {
  /**
   * @param {import("./models.js").Models} models
   * @param {() => void} onChange
   */
  constructor(models, onChange) {
    this.models = models;
    this.onChange = onChange;
    /** @type {Slot[]} what is asked side by side; [] for one model as ever */
    this.slots = [];
    this.dialog = byId("compare", HTMLDialogElement);
    this.button = byId("open-compare");
    this.rows = byId("compare-slots");
    this.add = byId("compare-add");
    this.button.onclick = () => this.open();
    this.add.onclick = () => this.addRow({ model: this.unusedModel });
    byId("compare-off").onclick = () => this.use([]);
    byId("compare-form").onsubmit = () => this.use(this.filled);
    this.mark();
  }

  get isOn() {
    return this.slots.length > 0;
  }

  /** All of them can be asked now. */
  get isAvailable() {
    const names = new Set(this.models.models.flatMap((model) => this.models.names(model)));
    return this.slots.every((slot) => names.has(slot.model));
  }

  get unusedModel() {
    const used = new Set(this.filled.map((slot) => slot.model));
    const names = this.models.models.map((model) => model.name);
    return names.find((name) => !used.has(name)) ?? names[0] ?? "";
  }

  open() {
    this.rows.replaceChildren();
    if (this.isOn) {
      for (const slot of this.slots) this.addRow(slot);
    } else {
      this.addRow({ model: this.models.chosen });
      this.addRow({ model: this.unusedModel });
    }
    this.dialog.showModal();
  }

  /** @param {Slot[]} slots */
  use(slots) {
    this.slots = slots;
    this.dialog.close();
    this.mark();
    this.onChange();
  }

  mark() {
    this.button.classList.toggle("is-on", this.isOn);
    this.button.setAttribute("aria-pressed", String(this.isOn));
    byId("compare-count").dataset.count = this.isOn ? String(this.slots.length) : "";
  }

  /** @param {Slot} slot */
  addRow(slot) {
    const names = new Set([slot.model, ...this.models.models.map((model) => model.name)]);
    const options = [...names].map((name) => make("option", { value: name }, name));
    const select = make("select", { name: "model" }, ...options);
    select.value = slot.model;
    select.setAttribute("aria-label", say("model"));
    const row = make("fieldset", { className: "slot" });
    const remove = iconButton("close", say("removeModel"), () => this.removeRow(row));
    const head = make("div", { className: "slot-head" }, select, remove);
    const isSet = PARAMETERS.some(({ name }) => name in slot);
    const fields = PARAMETERS.map((parameter) => parameterField(parameter, slot));
    const summary = make("summary", {}, say("parameters"));
    const grid = make("div", { className: "slot-fields" }, ...fields);
    row.append(make("legend"), head, make("details", { open: isSet }, summary, grid));
    this.rows.append(row);
    this.renumber();
  }

  /** @param {HTMLElement} row */
  removeRow(row) {
    row.remove();
    this.renumber();
    this.add.focus();
  }

  renumber() {
    const rows = [...this.rows.children];
    for (const [index, row] of rows.entries()) {
      within(row, "legend").textContent = letterOf(index);
      within(row, ".slot-head button").hidden = rows.length <= 2;
    }
    this.add.hidden = rows.length >= MOST;
  }

  /** @returns {Slot[]} what stands in the form */
  get filled() {
    return [...this.rows.children].map((row) => {
      /** @type {Slot} */
      const slot = { model: within(row, "select", HTMLSelectElement).value };
      for (const { name } of PARAMETERS) {
        const input = within(row, `[name="${name}"]`, HTMLInputElement);
        if (input.value !== "") slot[name] = input.valueAsNumber;
      }
      return slot;
    });
  }
}

/** @param {Field} parameter @param {Slot} slot */
function parameterField({ name, word, ...bounds }, slot) {
  const input = make("input", { type: "number", name, ...bounds });
  input.value = String(slot[name] ?? "");
  return make("label", {}, say(word), input);
}
