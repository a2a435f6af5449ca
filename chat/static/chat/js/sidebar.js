// @ts-check
/** The sidebar: a drawer on phones, foldable elsewhere; in it, the conversations. */

import { byId } from "./dom.js";
import { Library } from "./library/library.js";
import { remember } from "./memory.js";

const isPhone = matchMedia("(max-width: 767px)");

export class Sidebar {
  /** @param {(id: string, title: string) => void} onRenamed */
  constructor(onRenamed) {
    /** @type {import("./library/rows.js").LibraryPage} */
    const library = JSON.parse(byId("library").textContent);
    this.library = new Library(library, onRenamed);
    byId("history").dataset.grouped = "";
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

  /**
   * This conversation is the shown one now, and the latest.
   * @param {import("../../../frontend/types/protocol").Conversation} conversation
   */
  touch(conversation) {
    this.library.list.show(conversation);
  }

  /** A model gave it this title. @param {string} id @param {string} title */
  retitle(id, title) {
    this.library.renamed(id, title);
  }
}
