// @ts-check
/** Search over all messages, as one types; what is found takes the list's place. */

import { byId, make, seek } from "../dom.js";
import { count, say } from "../words.js";
import { reasonOf } from "./calls.js";

/**
 * @typedef {object} Hit
 * @property {{id: string, title: string}} conversation
 * @property {"" | "user" | "assistant"} role "" for a title
 * @property {string | null} message null for a title
 * @property {string} said_at
 * @property {[string, boolean][]} snippet its parts, and whether each is what was sought
 */

const PAUSE = 180; // milliseconds without a key before the server is asked
const language = document.documentElement.lang || "en";
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const SPEAKERS = { "": "inTitle", user: "inQuestion", assistant: "inAnswer" };

export class Search {
  /** @param {import("./calls.js").Calls} calls */
  constructor(calls) {
    this.calls = calls;
    this.field = byId("search-query", HTMLInputElement);
    this.panel = byId("search-hits");
    this.status = byId("search-status");
    this.list = byId("search-list");
    this.more = byId("search-more");
    this.asking = new AbortController();
    this.timer = 0;
    /** @type {number | null} */
    this.before = null;
    byId("search").onsubmit = (event) => {
      event.preventDefault();
      this.begin();
    };
    this.field.addEventListener("input", () => this.typed());
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.more.onclick = () => this.ask();
  }

  get query() {
    return this.field.value;
  }

  typed() {
    clearTimeout(this.timer);
    if (!this.query.trim()) this.end();
    else this.timer = window.setTimeout(() => this.begin(), PAUSE);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Escape" && this.query) {
      event.stopPropagation();
      this.field.value = "";
      this.end();
    } else if (event.key === "ArrowDown" && !this.panel.hidden) {
      event.preventDefault();
      seek(this.list, "a")?.focus();
    }
  }

  end() {
    clearTimeout(this.timer);
    this.asking.abort();
    this.panel.hidden = true;
    byId("history").hidden = false;
  }

  begin() {
    clearTimeout(this.timer);
    if (!this.query.trim()) return;
    this.before = null;
    this.panel.hidden = false;
    byId("history").hidden = true;
    this.ask();
  }

  /** The first page, or the next one. An older question's answer is not waited for. */
  async ask() {
    this.asking.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const isNext = this.before !== null;
    if (!isNext) this.status.textContent = say("searching");
    const query = { q: this.query, ...(isNext && { before: String(this.before) }) };
    try {
      const found = await this.calls.get("search", query, signal);
      if (!signal.aborted) this.show(found, isNext);
    } catch (error) {
      if (!signal.aborted) this.status.textContent = reasonOf(error);
    }
  }

  /** @param {{hits: Hit[], before: number | null}} found @param {boolean} isNext */
  show({ hits, before }, isNext) {
    if (!isNext) this.list.replaceChildren();
    const items = hits.map((hit) => this.item(hit));
    this.list.append(...items);
    if (isNext && items.length) seek(items[0], "a")?.focus();
    this.before = before;
    this.more.hidden = before === null;
    const number = count(this.list.children.length);
    const key = before === null ? "found" : "foundMore";
    this.status.textContent = number === "0" ? say("nothingFound") : say(key, { count: number });
  }

  /** @param {Hit} hit */
  item({ conversation, role, message, said_at, snippet }) {
    const title = make("strong", { textContent: conversation.title, dir: "auto" });
    const text = make("span", { className: "hit-text", dir: "auto" });
    for (const [part, isMatch] of snippet) {
      text.append(isMatch ? make("mark", { textContent: part }) : part);
    }
    const when = dates.format(new Date(said_at));
    const speaker = say(SPEAKERS[role] ?? "inAnswer");
    const foot = make("small", { textContent: `${speaker} · ${when}` });
    const where = message ? `?${new URLSearchParams({ message })}` : "";
    const href = this.calls.addressOf(conversation.id) + where;
    return make("li", {}, make("a", { href, className: "hit" }, title, text, foot));
  }
}
