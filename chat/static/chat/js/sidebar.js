// @ts-check
/** The list of conversations, by age; a drawer on phones, foldable elsewhere. */

import { byId, make } from "./dom.js";
import { remember } from "./memory.js";
import { say } from "./words.js";

const isPhone = matchMedia("(max-width: 767px)");

/** "today", "yesterday", "week" or "older", in the reader's own time zone. */
function ageOf(updated, now = new Date()) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = (midnight.getTime() - new Date(updated).getTime()) / 86_400_000;
  if (days <= 0) return "today";
  if (days <= 1) return "yesterday";
  return days <= 7 ? "week" : "older";
}

export class Sidebar {
  constructor() {
    this.history = byId("history");
    this.empty = byId("history-empty");
    this.items = [...this.history.querySelectorAll("li")];
    this.group();
    byId("open-sidebar").onclick = () => this.open();
    byId("close-sidebar").onclick = () => this.close();
    byId("scrim").onclick = () => this.close();
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.isDrawer) this.close();
    });
  }

  get isDrawer() {
    return document.body.classList.contains("has-drawer");
  }

  open() {
    if (isPhone.matches) {
      document.body.classList.add("has-drawer");
    } else {
      remember("sidebar", "");
      delete document.documentElement.dataset.sidebar;
    }
    byId("close-sidebar").focus();
  }

  close() {
    if (isPhone.matches) {
      document.body.classList.remove("has-drawer");
    } else {
      remember("sidebar", "folded");
      document.documentElement.dataset.sidebar = "folded";
    }
    byId("open-sidebar").focus();
  }

  /** Put the items, latest first, under headings of their age. */
  group() {
    for (const old of this.history.querySelectorAll("h2, ol")) old.remove();
    let age = "";
    let list;
    for (const item of this.items) {
      const next = ageOf(item.dataset.updated);
      if (next !== age) {
        age = next;
        list = make("ol");
        this.history.append(make("h2", { textContent: say(age) }), list);
      }
      list.append(item);
    }
    this.empty.hidden = this.items.length > 0;
    this.history.dataset.grouped = "";
  }

  /** Put this conversation on top, as the current one; a new one is added. */
  touch({ id, title, updated_at: updated }, address) {
    const found = this.items.find((item) => item.dataset.conversation === id);
    const item = found ?? make("li", {}, make("a", { href: address, textContent: title }));
    item.dataset.conversation = id;
    item.dataset.updated = updated;
    const link = item.querySelector("a");
    link.title = title;
    link.dir = "auto";
    for (const other of document.querySelectorAll(".sidebar [aria-current]")) {
      other.removeAttribute("aria-current");
    }
    link.setAttribute("aria-current", "page");
    this.items = [item, ...this.items.filter((other) => other !== item)];
    this.group();
  }
}
