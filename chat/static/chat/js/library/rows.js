// @ts-check
/** The elements of the list: a conversation's line, a heading, a folder's. */

import { icon, make } from "../dom.js";
import { say } from "../words.js";

/**
 * @typedef {object} Row a conversation as the server lists it
 * @property {string} id
 * @property {string} title
 * @property {string} updated_at
 * @property {number | null} folder
 * @property {boolean} is_pinned
 * @property {boolean} is_archived
 */

/** @typedef {{id: number, name: string}} Folder */
/**
 * @typedef {object} LibraryPage what the sidebar begins with: `library_fields` in `chat/views.py`
 * @property {string} home
 * @property {Row[]} conversations
 * @property {string | null} next where the rest begins
 * @property {Row[]} pinned
 * @property {Folder[]} folders
 * @property {Row | null} shown
 * @property {boolean} canShare
 */

/** The button that opens a line's menu. @param {string} title @param {(button: HTMLElement) => void} onOpen */
function moreButton(title, onOpen) {
  const label = say("options", { title });
  const button = make("button", { type: "button", className: "more", title: label });
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  button.append(icon("more", "small"));
  button.onclick = () => onOpen(button);
  return button;
}

export class Line {
  /** @param {Row} row @param {string} address @param {(line: Line, button: HTMLElement) => void} onMenu */
  constructor(row, address, onMenu) {
    this.row = row;
    this.link = make("a", { href: address, dir: "auto" });
    this.more = moreButton(row.title, (button) => onMenu(this, button));
    this.element = make("li", {}, this.link, this.more);
    this.element.dataset.conversation = row.id;
    this.update(row);
  }

  /** @param {Partial<Row>} fields */
  update(fields) {
    Object.assign(this.row, fields);
    this.link.textContent = this.link.title = this.row.title;
    const label = say("options", { title: this.row.title });
    this.more.title = label;
    this.more.setAttribute("aria-label", label);
  }

  /** @param {boolean} isShown */
  set isShown(isShown) {
    if (isShown) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
  }
}

/** A folder of the list: open or closed, filled when it is first opened. */
export class FolderGroup {
  /**
   * @param {Folder} folder
   * @param {(group: FolderGroup) => void} onToggle
   * @param {(group: FolderGroup, button: HTMLElement) => void} onMenu
   */
  constructor(folder, onToggle, onMenu) {
    this.folder = folder;
    this.isOpen = false;
    /** What is loaded: null before anything is; then where the rest begins, or "". */
    /** @type {string | null} */
    this.next = null;
    this.name = make("span", { dir: "auto" });
    this.button = make("button", { type: "button", className: "folder-button" });
    this.button.append(icon("folder", "small"), this.name, icon("chevron", "small"));
    this.button.onclick = () => onToggle(this);
    this.more = moreButton(folder.name, (button) => onMenu(this, button));
    this.head = make("div", { className: "folder-head" }, this.button, this.more);
    this.list = make("ol");
    this.empty = make("p", { className: "folder-empty", textContent: say("emptyFolder") });
    this.element = make("section", { className: "folder" }, this.head, this.list, this.empty);
    this.show([]);
  }

  /** @param {Line[]} lines */
  show(lines) {
    this.name.textContent = this.folder.name;
    this.more.setAttribute("aria-label", say("options", { title: this.folder.name }));
    this.button.setAttribute("aria-expanded", String(this.isOpen));
    this.list.hidden = !this.isOpen;
    this.empty.hidden = !this.isOpen || this.next !== "" || lines.length > 0;
    this.list.replaceChildren(...lines.map((line) => line.element));
  }
}
