// @ts-check
/** The model picker: what can be asked now, and what is chosen. */

import { byId, icon, make } from "./dom.js";
import { recall, remember } from "./memory.js";
import { setOpen } from "./menus.js";
import { count, say } from "./words.js";

export class Models {
  /**
   * @param {any[]} models
   * @param {string} chosen the conversation's, else ""
   * @param {() => void} onChange
   */
  constructor(models, chosen, onChange) {
    this.menu = byId("model-picker");
    this.button = byId("model-button");
    this.items = byId("model-items");
    this.label = byId("model-name");
    this.chosen = chosen || recall("model") || "";
    this.isFixed = Boolean(chosen);
    this.models = models;
    this.onChange = onChange;
    this.render();
  }

  get isAvailable() {
    return this.models.some((model) => this.names(model).includes(this.chosen));
  }

  /** Of the model that is chosen, in tokens; 0: it is not known. */
  get contextLength() {
    const chosen = this.models.find((model) => this.names(model).includes(this.chosen));
    return chosen?.context_length ?? 0;
  }

  names(model) {
    return [model.name, ...model.aliases];
  }

  /** @param {any[]} models */
  show(models) {
    this.models = models;
    this.render();
    this.onChange();
  }

  /** The model of the conversation that is shown now. @param {string} name */
  adopt(name) {
    this.chosen = name;
    this.isFixed = true;
    this.render();
  }

  /** @param {string} name */
  choose(name) {
    this.chosen = name;
    remember("model", name);
    setOpen(this.menu, false);
    this.button.focus();
    this.render();
    this.onChange();
  }

  render() {
    // A conversation keeps its model while that is away; a new one takes what is there.
    if (!this.isAvailable && !this.isFixed && this.models.length) {
      this.chosen = this.models[0].name;
    }
    const isGone = !this.isAvailable;
    this.label.textContent = (this.models.length || this.isFixed) && this.chosen || say("noModel");
    this.button.classList.toggle("is-gone", isGone && this.isFixed);
    this.button.title = isGone && this.isFixed ? say("modelGone") : "";
    // Who is choosing by keyboard stays where they are.
    const focused = this.items.querySelector(":focus")?.dataset.model;
    this.items.replaceChildren(...this.models.map((model) => this.option(model)));
    if (focused) this.items.querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
    if (!this.models.length) {
      this.items.append(make("p", { className: "model-none", textContent: say("noModel") }));
    }
  }

  option(model) {
    const isChosen = this.names(model).includes(this.chosen);
    const length = model.context_length;
    const context = length ? say("contextLength", { count: count(length) }) : "";
    const words = make("span", {}, make("strong", { textContent: model.name }));
    for (const line of [model.description, model.licence, context]) {
      if (line) words.append(make("small", { textContent: line }));
    }
    const option = make("button", { type: "button", className: "menu-item model-option" });
    option.dataset.model = model.name;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", String(isChosen));
    option.append(icon("check", "small"), words);
    option.onclick = () => this.choose(model.name);
    return option;
  }
}
