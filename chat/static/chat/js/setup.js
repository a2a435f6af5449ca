// @ts-check
/** The panel of a conversation's instructions and parameters. */

import { byId, make } from "./dom.js";
import { Refused, call } from "./requests.js";
import { enableSheet } from "./sheets.js";
import { shelfOf } from "./shelves.js";
import { say } from "./words.js";

/** @typedef {Record<string, string | number | string[]>} Setup */

export class SetupPanel {
  /**
   * @param {object} options
   * @param {string} options.home
   * @param {Setup} options.setup
   * @param {() => string | null} options.conversation its id, once there is one
   * @param {import("./shelves.js").Shelves} options.shelves
   * @param {(name: string) => void} options.onModel a preset names a model
   */
  constructor({ home, setup, conversation, shelves, onModel }) {
    this.home = home;
    this.setup = setup;
    this.conversation = conversation;
    this.shelves = shelves;
    this.onModel = onModel;
    this.presets = byId("setup-preset", HTMLSelectElement);
    this.presets.onchange = () => this.adopt();
    byId("setup-keep").onclick = () => this.keep();
    /** The model of the preset that was taken over; it is picked when that is applied. */
    this.model = "";
    this.dialog = byId("setup", HTMLDialogElement);
    this.form = byId("setup-form", HTMLFormElement);
    this.button = byId("open-setup");
    this.button.onclick = () => this.open();
    byId("setup-reset").onclick = () => this.fill({});
    this.form.onsubmit = (event) => this.save(event);
    enableSheet(this.dialog);
    this.mark();
  }

  get address() {
    const id = this.conversation();
    return id ? `${this.home}c/${id}/setup/` : `${this.home}setup/`;
  }

  /** Show it as it is, and in a moment as another tab has left it. @param {string} [field] */
  open(field = "system_prompt") {
    this.fill(this.setup);
    if (!this.dialog.open) this.dialog.showModal();
    const wanted = this.form.elements.namedItem(field);
    if (wanted instanceof HTMLElement) wanted.focus();
    if (this.conversation()) this.look();
    this.offer();
  }

  /** List the presets. */
  async offer() {
    const { presets } = await this.shelves.load();
    const options = presets.map((preset) =>
      make("option", { value: String(preset.id), textContent: `${preset.name} (${shelfOf(preset)})` }));
    const none = make("option", { value: "", textContent: say("noPreset") });
    this.presets.replaceChildren(none, ...options);
    this.presets.disabled = !presets.length;
  }

  /** Fill in what the chosen preset says. */
  async adopt() {
    const { presets } = await this.shelves.load();
    const preset = presets.find((each) => String(each.id) === this.presets.value);
    if (!preset) return;
    this.fill(preset.setup);
    this.model = preset.model;
  }

  /** Set this conversation up as a preset says; throws `Refused`.
   * @param {import("./shelves.js").Preset} preset */
  async apply(preset) {
    const fields = this.fields.map(({ name }) => [name, shown(preset.setup[name])]);
    await this.store(Object.fromEntries(fields));
    if (preset.model) this.onModel(preset.model);
  }

  /** Change the instructions alone; throws `Refused`. @param {string} text */
  async instruct(text) {
    const kept = this.fields.map(({ name }) => [name, shown(this.setup[name])]);
    await this.store({ ...Object.fromEntries(kept), system_prompt: text });
  }

  /** Keep what stands in the panel as a preset of one's own. */
  async keep() {
    const name = byId("setup-name", HTMLInputElement);
    try {
      await this.shelves.addPreset({ ...this.filled(), name: name.value, model: this.model });
      name.value = "";
      this.complain({}, "", say("presetKept"));
      this.offer();
    } catch (error) {
      this.say(error);
    }
  }

  async look() {
    const before = this.filled();
    const setup = await call("GET", this.address).catch(() => null);
    if (!setup || JSON.stringify(before) !== JSON.stringify(this.filled())) return;
    this.take(setup);
    this.fill(setup);
  }

  /** @param {Setup} setup */
  take(setup) {
    this.setup = setup;
    this.mark();
  }

  /** Say on the button whether anything is set. */
  mark() {
    const isSet = Object.values(this.setup).some((value) => value !== "");
    this.button.classList.toggle("is-set", isSet);
    this.button.setAttribute("aria-description", isSet ? say("setupIsSet") : "");
  }

  /** @param {Setup} setup */
  fill(setup) {
    for (const field of this.fields) field.value = shown(setup[field.name]);
    this.model = "";
    this.complain({});
  }

  /** What stands in the fields, as text; the server reads it. */
  filled() {
    return Object.fromEntries(this.fields.map((field) => [field.name, field.value]));
  }

  get fields() {
    return /** @type {HTMLInputElement[]} */ (
      [...this.form.querySelectorAll("[data-setup]")]
    );
  }

  /** @param {SubmitEvent} event */
  async save(event) {
    event.preventDefault();
    try {
      await this.store(this.filled());
      if (this.model) this.onModel(this.model);
      this.dialog.close();
    } catch (error) {
      this.say(error);
    }
  }

  /** @param {unknown} error */
  say(error) {
    if (!(error instanceof Refused)) this.complain({}, say("notSaved"));
    else this.complain(error.fields, error.message);
  }

  /** Keep it from the next answer on; throws `Refused`. @param {object} filled */
  async store(filled) {
    this.take(await call(this.conversation() ? "PUT" : "POST", this.address, filled));
  }

  /**
   * @param {Record<string, string>} errors by field
   * @param {string} [message] shown where no field is to blame
   * @param {string} [note] all is well
   */
  complain(errors, message = "", note = "") {
    const name = byId("setup-name", HTMLInputElement);
    for (const field of [...this.fields, name]) {
      const line = byId(`${field.id}-error`);
      line.textContent = errors[field.name] ?? "";
      line.hidden = !errors[field.name];
      field.setAttribute("aria-invalid", String(field.name in errors));
    }
    const rest = byId("setup-error");
    rest.textContent = Object.keys(errors).length ? "" : message;
    rest.hidden = !rest.textContent;
    byId("setup-note").textContent = note;
    [...this.fields, name].find((field) => field.name in errors)?.focus();
  }
}

/**
 * A value as its field shows it; stop texts one a line, with their own line breaks as \n.
 * @param {Setup[string] | undefined} value
 */
function shown(value) {
  if (!Array.isArray(value)) return String(value ?? "");
  return value.map((text) => text.replaceAll("\n", "\\n")).join("\n");
}
