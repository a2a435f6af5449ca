// @ts-check
/** The menu of commands above the message box, while a line that begins with / is typed. */

import { byId, make } from "./dom.js";

const COMMAND = /^\/(\S*)(?:\s+([\s\S]*))?$/;
const MOST_SHOWN = 50;

/** @typedef {import("./commands.js").Command} Command */
/** @typedef {import("./commands.js").Choice & {isCommand?: boolean}} Entry */

export class SlashMenu {
  /** @param {Command[]} commands */
  constructor(commands) {
    this.commands = commands;
    this.input = byId("prompt", HTMLTextAreaElement);
    this.list = byId("slash");
    /** @type {Entry[]} */
    this.entries = [];
    this.at = 0;
    this.numLooks = 0;
    this.input.addEventListener("input", () => this.look());
    // Before the composer's own: there Enter sends.
    this.input.addEventListener("keydown", (event) => this.key(event), { capture: true });
    this.input.addEventListener("blur", () => this.close());
  }

  get isOpen() {
    return this.entries.length > 0;
  }

  /** Show what fits to what is typed by now. */
  async look() {
    this.numLooks += 1;
    const look = this.numLooks;
    const entries = await this.fitting(this.input.value);
    if (look !== this.numLooks) return; // more was typed meanwhile
    this.show(entries);
  }

  /** @param {string} typed @returns {Promise<Entry[]>} */
  async fitting(typed) {
    const found = COMMAND.exec(typed);
    if (!found) return [];
    const [, name, argument] = found;
    if (argument === undefined) return this.beginning(name);
    const command = this.commands.find((each) => each.name === name);
    if (!command?.choices) return [];
    const choices = await command.choices();
    const words = argument.toLowerCase().trim();
    return choices.filter(
      (choice) => choice.isLast || choice.name.toLowerCase().includes(words),
    );
  }

  /** @param {string} name @returns {Entry[]} */
  beginning(name) {
    return this.commands
      .filter((command) => command.name.startsWith(name.toLowerCase()))
      .map((command) => ({
        name: `/${command.name}`,
        hint: command.hint,
        badge: command.argument,
        isCommand: true,
        run: () => this.begin(command),
      }));
  }

  /** A command that wants to know more is written out, another one is done. @param {Command} command */
  begin(command) {
    if (!command.argument) {
      command.run("");
      return;
    }
    this.write(`/${command.name} `);
    this.look();
  }

  /** @param {string} text */
  write(text) {
    this.input.value = text;
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (this.isOpen && step) this.move(step);
    else if (this.isOpen && event.key === "Escape") this.close();
    else if (this.isOpen && event.key === "Tab" && !event.shiftKey) this.choose(this.at);
    else if (event.key === "Enter" && !event.shiftKey && this.obey()) this.close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  /** @returns {boolean} whether Enter was meant for a command */
  obey() {
    const found = COMMAND.exec(this.input.value);
    if (!found) return false;
    if (this.isOpen) {
      this.choose(this.at);
      return true;
    }
    const [, name, argument = ""] = found;
    const command = this.commands.find((each) => each.name === name);
    // Behind a command that takes nothing, words are no command: "/new york is large".
    if (!command || (!command.argument && argument.trim())) return false;
    // A saved prompt that is not there must not be asked as a question by mistake.
    if (command.choices && argument.trim()) return true;
    this.write("");
    command.run(argument.trim());
    return true;
  }

  /** @param {number} index */
  choose(index) {
    const entry = this.entries[index];
    this.close();
    if (!entry) return;
    this.write("");
    this.input.focus();
    entry.run();
  }

  /** @param {number} step */
  move(step) {
    this.at = (this.at + step + this.entries.length) % this.entries.length;
    this.mark();
  }

  close() {
    this.numLooks += 1;
    this.show([]);
  }

  /** @param {Entry[]} entries */
  show(entries) {
    this.entries = entries.slice(0, MOST_SHOWN);
    this.at = 0;
    this.list.hidden = !this.isOpen;
    this.list.replaceChildren(...this.entries.map((entry, index) => this.option(entry, index)));
    this.input.setAttribute("aria-expanded", String(this.isOpen));
    this.mark();
  }

  /** @param {Entry} entry @param {number} index */
  option({ name, hint = "", badge = "" }, index) {
    const option = make("li", { id: `slash-${index}`, className: "slash-option" });
    option.setAttribute("role", "option");
    option.append(make("strong", { textContent: name, dir: "auto" }));
    if (badge) option.append(make("span", { className: "slash-badge", textContent: badge }));
    if (hint) option.append(make("small", { textContent: hint.slice(0, 200), dir: "auto" }));
    // A click would first take the focus, and that closes the menu.
    option.addEventListener("pointerdown", (event) => event.preventDefault());
    option.addEventListener("click", () => this.choose(index));
    return option;
  }

  mark() {
    const options = [...this.list.children];
    for (const [index, option] of options.entries()) {
      option.setAttribute("aria-selected", String(index === this.at));
    }
    const marked = options[this.at];
    marked?.scrollIntoView({ block: "nearest" });
    if (marked) this.input.setAttribute("aria-activedescendant", marked.id);
    else this.input.removeAttribute("aria-activedescendant");
  }
}
