// @ts-check
/** The tray of files that go with the next prompt: chosen, pasted or dropped. */

import { factsOf, pictureOf, wordsOf } from "./chips.js";
import { byId, icon, iconButton, make } from "./dom.js";
import { shrunk } from "./pictures.js";
import { Refused, call } from "./requests.js";
import { count, say } from "./words.js";

/** A pasted text of more characters than this is a document, not a question. */
const LONG_PASTE = 5_000;

/** @typedef {import("./chips.js").Attached} Attached */
/**
 * @typedef {object} Item on its way, there, or refused
 * @property {string} name
 * @property {Attached | null} file
 * @property {string} error
 * @property {AbortController} going
 */
/**
 * @typedef {object} Reader the model that is chosen, as far as it matters here
 * @property {string} name
 * @property {boolean} sees
 * @property {number | null} room tokens that documents may take; null: not known
 */

export class Attachments {
  /**
   * @param {object} options
   * @param {string} options.home
   * @param {number} options.maxFiles
   * @param {number} options.maxBytes
   * @param {() => Reader | null} options.reader
   * @param {() => void} options.onChange
   */
  constructor({ home, maxFiles, maxBytes, reader, onChange }) {
    this.address = `${home}attachments/`;
    this.maxFiles = maxFiles;
    this.maxBytes = maxBytes;
    this.reader = reader;
    this.onChange = onChange;
    this.tray = byId("tray");
    this.fit = byId("fit");
    this.chooser = byId("files", HTMLInputElement);
    /** @type {Item[]} */
    this.items = [];
    byId("attach").hidden = !maxFiles;
    byId("attach").onclick = () => this.choose();
    this.chooser.onchange = () => {
      this.add([...(this.chooser.files ?? [])]);
      this.chooser.value = "";
    };
    byId("prompt").addEventListener("paste", (event) => this.paste(event));
    this.listenForDrops();
  }

  /** @returns {Attached[]} those that are there */
  get files() {
    return this.items.flatMap((item) => (item.file ? [item.file] : []));
  }

  get isEmpty() {
    return !this.files.length;
  }

  get isGoing() {
    return this.items.some((item) => !item.file && !item.error);
  }

  /** One of them cannot go along, as it says itself. */
  get hasRefused() {
    return this.items.some((item) => item.error);
  }

  /** Why they cannot be sent to the model that is chosen; "" where they can. */
  get objection() {
    if (!this.files.some((file) => file.is_image)) return "";
    const reader = this.reader();
    return reader && !reader.sees ? say("modelIsBlind", { model: reader.name }) : "";
  }

  choose() {
    this.chooser.click();
  }

  /** @param {File[]} files */
  add(files) {
    const room = this.maxFiles - this.items.length;
    for (const file of files.slice(0, room)) this.send(file);
    if (files.length > room) {
      const most = say("tooManyFiles", { count: count(this.maxFiles) });
      this.complain(files[room].name, most);
    }
  }

  /** @param {File} file */
  async send(file) {
    const going = new AbortController();
    /** @type {Item} */
    const item = { name: file.name, file: null, error: "", going };
    this.items.push(item);
    this.change();
    try {
      item.file = await this.upload(await shrunk(file), going.signal);
    } catch (error) {
      if (going.signal.aborted) return;
      item.error = error instanceof Refused ? error.message : say("notUploaded");
    }
    this.change();
  }

  /** @param {File} file @param {AbortSignal} signal */
  upload(file, signal) {
    if (file.size > this.maxBytes) {
      const megabytes = count(Math.floor(this.maxBytes / 2 ** 20));
      throw new Refused(say("fileTooLarge", { count: megabytes }));
    }
    const form = new FormData();
    form.append("file", file, file.name);
    return call("POST", this.address, form, signal);
  }

  /** @param {string} name @param {string} error */
  complain(name, error) {
    this.items.push({ name, file: null, error, going: new AbortController() });
    this.change();
  }

  /** @param {Item} item */
  remove(item) {
    item.going.abort();
    this.items = this.items.filter((each) => each !== item);
    // It would go by itself after some days; a lost call is no matter.
    if (item.file) call("DELETE", `${this.address}${item.file.id}/`).catch(() => {});
    this.change();
    byId("prompt").focus();
  }

  /** They are sent, or wait to be. @returns {Attached[]} */
  take() {
    const { files } = this;
    this.items = [];
    this.change();
    return files;
  }

  /** @param {Attached[]} files */
  giveBack(files) {
    const back = files.map((file) => ({
      name: file.name, file, error: "", going: new AbortController(),
    }));
    this.items = [...back, ...this.items];
    this.change();
  }

  /** @param {ClipboardEvent} event */
  paste(event) {
    if (!this.maxFiles || !event.clipboardData) return;
    const files = [...event.clipboardData.files];
    const text = event.clipboardData.getData("text/plain");
    // Copied cells and formatted text come with a picture of themselves.
    if (files.length && !text) {
      event.preventDefault();
      this.add(files);
    } else if (text.length > LONG_PASTE) {
      event.preventDefault();
      this.add([new File([text], say("pastedName"), { type: "text/plain" })]);
    }
  }

  listenForDrops() {
    const stage = byId("stage");
    const veil = byId("drop");
    /** @param {DragEvent} event */
    const hasFiles = (event) => this.maxFiles && event.dataTransfer?.types.includes("Files");
    stage.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      veil.hidden = false;
    });
    stage.addEventListener("dragleave", (event) => {
      if (!stage.contains(/** @type {Node} */ (event.relatedTarget))) veil.hidden = true;
    });
    stage.addEventListener("drop", (event) => {
      veil.hidden = true;
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  change() {
    this.render();
    this.onChange();
  }

  render() {
    this.tray.hidden = !this.items.length;
    this.tray.replaceChildren(...this.items.map((item) => this.chip(item)));
    this.weigh();
  }

  /** @param {Item} item */
  chip(item) {
    const { file, name, error } = item;
    const parts = file ? [pictureOf(file), wordsOf(file)] : [icon("file"), waiting(name, error)];
    const chip = make("li", { className: "chip" }, ...parts);
    chip.classList.toggle("is-going", !file && !error);
    chip.classList.toggle("is-refused", Boolean(error));
    if (file) chip.title = `${file.name} · ${factsOf(file)}`;
    chip.append(iconButton("close", say("removeFile", { name }), () => this.remove(item)));
    return chip;
  }

  /** Say what of the files cannot be sent, or has no room. */
  weigh() {
    const { objection } = this;
    const { words, isOver } = this.weight;
    this.fit.textContent = objection || words;
    this.fit.classList.toggle("is-warning", isOver || Boolean(objection));
    this.fit.hidden = !this.fit.textContent;
  }

  /** How much of the documents the model has room for. The room is reckoned from all that
   * was said, with each key that is typed: not where there are no documents. */
  get weight() {
    const documents = this.files.filter((file) => !file.is_image);
    if (!documents.length) return { words: "", isOver: false };
    const total = documents.reduce((sum, file) => sum + file.num_tokens, 0);
    const reader = this.reader();
    const room = reader?.room ?? total;
    const isOver = total > room;
    const fits = count(Math.min(room, total));
    const values = { count: count(total), fits, model: reader?.name ?? "" };
    return { words: say(isOver ? "documentsCut" : "documentsFit", values), isOver };
  }
}

/** @param {string} name @param {string} error */
function waiting(name, error) {
  const shown = make("span", { className: "chip-name", textContent: name, dir: "auto" });
  const words = error || say("uploading");
  return make("span", { className: "chip-words" }, shown, make("small", { textContent: words }));
}
