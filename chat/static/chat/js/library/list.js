// @ts-check
/** The list of conversations: the pinned, the folders, and the rest by day. */

import { byId, make, seek } from "../dom.js";
import { recall, remember } from "../memory.js";
import { say } from "../words.js";
import { FolderGroup, Line } from "./rows.js";

/** "today", "yesterday", "week" or "older", in the reader's own time zone. @param {string} updated */
function ageOf(updated, now = new Date()) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = (midnight.getTime() - new Date(updated).getTime()) / 86_400_000;
  if (days <= 0) return "today";
  if (days <= 1) return "yesterday";
  return days <= 7 ? "week" : "older";
}

export class ConversationList {
  /**
   * @param {import("./rows.js").LibraryPage} library what the server sent with the page
   * @param {import("./calls.js").Calls} calls
   * @param {object} onMenu
   * @param {(line: Line, button: HTMLElement) => void} onMenu.line
   * @param {(group: FolderGroup, button: HTMLElement) => void} onMenu.folder
   * @param {(work: () => Promise<void>) => Promise<void>} attempt says why it failed
   */
  constructor(library, calls, onMenu, attempt) {
    this.calls = calls;
    this.onMenu = onMenu;
    this.attempt = attempt;
    this.nav = byId("history");
    this.groups = byId("history-groups");
    this.empty = byId("history-empty");
    this.moreButton = byId("history-more");
    /** @type {string | null} */
    this.next = library.next;
    this.shownId = library.shown?.id ?? "";
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    /** @type {FolderGroup[]} */
    this.folders = library.folders.map((folder) => this.folderGroup(folder));
    this.take([...library.pinned, ...library.conversations]);
    if (library.shown) this.take([library.shown]);
    this.openRemembered(library.shown?.folder);
    this.render();
    const loadMore = () => this.attempt(() => this.loadMore());
    this.moreButton.onclick = loadMore;
    this.isLoading = false;
    this.observer = new IntersectionObserver(
      (entries) => entries.at(-1)?.isIntersecting && loadMore(),
      { root: this.nav, rootMargin: "300px" },
    );
    this.observer.observe(this.moreButton);
  }

  /** @param {import("./rows.js").Folder} folder */
  folderGroup(folder) {
    return new FolderGroup(folder, (group) => this.toggle(group), this.onMenu.folder);
  }

  // -- rows ------------------------------------------------------------------------------

  /** @param {import("./rows.js").Row[]} rows */
  take(rows) {
    for (const row of rows) {
      const known = this.lines.get(row.id);
      if (known) known.update(row);
      else {
        const address = this.calls.addressOf(row.id);
        this.lines.set(row.id, new Line(row, address, this.onMenu.line));
      }
    }
  }

  /** @param {string} id @param {Partial<import("./rows.js").Row>} fields */
  update(id, fields) {
    this.lines.get(id)?.update(fields);
    this.render();
  }

  /** @param {string} id */
  remove(id) {
    this.lines.delete(id);
    this.render();
  }

  /**
   * Make this conversation the shown one; a new one is added.
   * @param {{id: string, title: string, updated_at: string}} conversation
   */
  show({ id, title, updated_at }) {
    const fresh = { folder: null, is_pinned: false, is_archived: false };
    const known = this.lines.get(id)?.row ?? fresh;
    this.take([{ ...known, id, title, updated_at }]);
    this.shownId = id;
    for (const other of document.querySelectorAll(".new-chat[aria-current]")) {
      other.removeAttribute("aria-current");
    }
    this.render();
  }

  async loadMore() {
    if (this.isLoading || !this.next) return;
    this.isLoading = true;
    try {
      const page = await this.calls.get("conversations", { after: this.next });
      this.take(page.conversations);
      this.next = page.next;
      this.render();
    } finally {
      this.isLoading = false;
    }
    // Who scrolled on meanwhile sees the button still: that is no change to be told of.
    this.observer.unobserve(this.moreButton);
    this.observer.observe(this.moreButton);
  }

  // -- folders -----------------------------------------------------------------------------

  /** @param {number | null | undefined} shown the folder of the shown conversation */
  openRemembered(shown) {
    const open = (recall("folders") ?? "").split(",").map(Number);
    for (const group of this.folders) {
      if (open.includes(group.folder.id) || group.folder.id === shown) this.open(group);
    }
  }

  /** @param {FolderGroup} group */
  toggle(group) {
    if (group.isOpen) group.isOpen = false;
    else this.open(group);
    const open = this.folders.filter((each) => each.isOpen);
    remember("folders", open.map((each) => each.folder.id).join(","));
    this.render();
  }

  /** @param {FolderGroup} group */
  async open(group) {
    group.isOpen = true;
    if (group.next === null) await this.attempt(() => this.fill(group));
  }

  /** @param {FolderGroup} group */
  async fill(group) {
    let after = "";
    do {
      const query = { folder: String(group.folder.id), ...(after && { after }) };
      const page = await this.calls.get("conversations", query);
      this.take(page.conversations);
      after = page.next ?? "";
      group.next = after;
      this.render();
    } while (after);
  }

  /** @param {import("./rows.js").Folder} folder */
  addFolder(folder) {
    const group = this.folderGroup(folder);
    this.folders.push(group);
    this.sortFolders();
    return group;
  }

  sortFolders() {
    this.folders.sort((a, b) => a.folder.name.localeCompare(b.folder.name));
    this.render();
  }

  /** @param {FolderGroup} group */
  removeFolder(group) {
    this.folders = this.folders.filter((each) => each !== group);
    for (const line of this.lines.values()) {
      if (line.row.folder === group.folder.id) line.row.folder = null;
    }
    this.render();
  }

  // -- what is seen ------------------------------------------------------------------------

  /** Put every line where it belongs, latest first; what has the focus keeps it. */
  render() {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const neighbours = this.neighboursOf(focused);
    const lines = [...this.lines.values()].filter((line) => !line.row.is_archived);
    lines.sort((a, b) => Date.parse(b.row.updated_at) - Date.parse(a.row.updated_at));
    for (const line of lines) line.isShown = line.row.id === this.shownId;
    const pinned = lines.filter((line) => line.row.is_pinned);
    const others = lines.filter((line) => !line.row.is_pinned);
    /** @type {HTMLElement[]} */
    const parts = pinned.length ? headed("pinned", pinned) : [];
    for (const group of this.folders) {
      group.show(others.filter((line) => line.row.folder === group.folder.id));
      parts.push(group.element);
    }
    const byDay = others.filter((line) => line.row.folder === null);
    for (const age of ["today", "yesterday", "week", "older"]) {
      const aged = byDay.filter((line) => ageOf(line.row.updated_at) === age);
      if (aged.length) parts.push(...headed(age, aged));
    }
    this.groups.replaceChildren(...parts);
    this.empty.hidden = lines.length > 0 || this.folders.length > 0;
    this.moreButton.hidden = !this.next;
    if (focused && this.nav.contains(focused)) focused.focus();
    else {
      const next = neighbours.find((line) => this.groups.contains(line));
      if (next) seek(next, "a")?.focus();
    }
  }

  /** The lines to whose first the focus goes if its own line leaves; [] where it is not in
   * a line. @param {Element | null} focused */
  neighboursOf(focused) {
    const lines = [...this.groups.querySelectorAll("li")];
    const at = lines.findIndex((line) => line.contains(focused));
    return at < 0 ? [] : [...lines.slice(at + 1), ...lines.slice(0, at).reverse()];
  }
}

/** @param {string} key @param {Line[]} lines */
function headed(key, lines) {
  const list = make("ol", {}, ...lines.map((line) => line.element));
  return [make("h2", { textContent: say(key) }), list];
}
