// @ts-check
/** The model picker: what can be asked now, how long it lets wait, and what is chosen. */

import { byId, icon, make, seek } from "./dom.js";
import { recall, remember } from "./memory.js";
import { setOpen } from "./menus.js";
import { about, count, say } from "./words.js";

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {string[]} aliases
 * @property {string} description
 * @property {string} licence
 * @property {number} context_length 0: not known
 * @property {boolean} sees
 * @property {boolean} is_busy
 * @property {number | null} wait_seconds
 */

/** So many are seen at a glance; more are searched. */
const FEW = 6;

/** The model that the page's address asks for; "" for none. */
export const modelOfAddress = () =>
  new URLSearchParams(location.search).get("model")?.trim() ?? "";

export class Models {
  /**
   * @param {Model[]} models
   * @param {string} chosen the conversation's, or the address's; else ""
   * @param {() => void} onChange
   */
  constructor(models, chosen, onChange) {
    this.menu = byId("model-picker");
    this.button = byId("model-button");
    this.search = byId("model-search", HTMLInputElement);
    this.items = byId("model-list");
    this.label = byId("model-name");
    this.chosen = chosen || recall("model") || "";
    this.isFixed = Boolean(chosen);
    this.models = models;
    this.onChange = onChange;
    this.button.addEventListener("click", () => this.opened());
    this.search.addEventListener("input", () => this.render());
    this.search.addEventListener("keydown", (event) => this.searchKey(event));
    this.render();
  }

  get isAvailable() {
    return Boolean(this.current);
  }

  /** Of the model that is chosen, in tokens; 0: it is not known. */
  get contextLength() {
    return this.current?.context_length ?? 0;
  }

  /** @returns {Model | undefined} the one that is chosen, while it can be asked */
  get current() {
    return this.models.find((model) => this.names(model).includes(this.chosen));
  }

  /** @returns {Model[]} those that the search leaves */
  get found() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.models.filter((model) => {
      const text = [...this.names(model), model.description].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  /** @param {Model} model */
  names(model) {
    return [model.name, ...model.aliases];
  }

  /** @param {Model[]} models */
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
    this.pick(name);
    setOpen(this.menu, false);
    this.button.focus();
  }

  /** @param {string} name */
  pick(name) {
    this.chosen = name;
    remember("model", name);
    this.render();
    this.onChange();
  }

  /** Show the menu with the cursor in its search. */
  open() {
    setOpen(this.menu, true);
    this.opened();
  }

  opened() {
    if (this.button.getAttribute("aria-expanded") !== "true") return;
    this.search.value = "";
    this.render();
    if (!this.search.hidden) this.search.focus();
    else seek(this.items, "[aria-selected=true], button")?.focus();
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    const [first] = this.found;
    if (first) this.choose(first.name);
  }

  render() {
    // A conversation keeps its model while that is away; a new one takes what is there.
    if (!this.isAvailable && !this.isFixed && this.models.length) {
      this.chosen = this.models[0].name;
    }
    const isGone = !this.isAvailable;
    this.label.textContent = (this.models.length || this.isFixed) && this.chosen || say("noModel");
    this.button.classList.toggle("is-gone", isGone && this.isFixed);
    this.button.classList.toggle("is-busy", Boolean(this.current?.is_busy));
    this.button.title = isGone && this.isFixed ? say("modelGone") : waitOf(this.current);
    this.search.hidden = this.models.length <= FEW;
    // Who is choosing by keyboard stays where they are.
    const focused = seek(this.items, ":focus")?.dataset.model;
    const { found } = this;
    this.items.replaceChildren(...found.map((model) => this.option(model)));
    if (focused) seek(this.items, `[data-model="${CSS.escape(focused)}"]`)?.focus();
    byId("model-none").hidden = found.length > 0;
    byId("model-none").textContent = say(this.models.length ? "noSuchModel" : "noModel");
  }

  /** @param {Model} model */
  option(model) {
    const isChosen = this.names(model).includes(this.chosen);
    const length = model.context_length;
    const facts = [
      length ? say("contextLength", { count: count(length) }) : "",
      model.sees ? say("seesImages") : "",
    ];
    const words = make("span", {}, make("strong", { textContent: model.name }));
    for (const line of [model.description, model.licence, facts.filter(Boolean).join(" · ")]) {
      if (line) words.append(make("small", { textContent: line }));
    }
    if (model.is_busy) {
      words.append(make("small", { className: "model-wait", textContent: waitOf(model) }));
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

/** "All workers are busy; a wait of about 40 s"; "" where nobody waits. @param {Model} [model] */
function waitOf(model) {
  if (!model?.is_busy) return "";
  if (model.wait_seconds === null) return say("modelBusy");
  return say("modelWait", { about: about(model.wait_seconds) });
}
