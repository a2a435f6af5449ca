// @ts-check
/** What one does with conversations in the sidebar: the list, its menus, search. */

import { recall, remember } from "../memory.js";
import { say } from "../words.js";
import { Calls, reasonOf } from "./calls.js";
import { askFolder } from "./folder-dialog.js";
import { ConversationList } from "./list.js";
import { Menu } from "./menu.js";
import { renameInPlace } from "./rename.js";
import { Search } from "./search.js";
import { openReadersDialog } from "./readers-dialog.js";
import { openShareDialog } from "./share-dialog.js";
import { Toast } from "./toast.js";

const DELETED = "deleted";

export class Library {
  /**
   * @param {import("./rows.js").LibraryPage} library what the server sent with the page
   * @param {(id: string, title: string) => void} onRenamed
   */
  constructor(library, onRenamed) {
    this.canShare = library.canShare;
    this.onRenamed = onRenamed;
    this.calls = new Calls(library.home);
    this.menu = new Menu();
    this.toast = new Toast();
    this.search = new Search(this.calls);
    this.list = new ConversationList(
      library,
      this.calls,
      {
        line: (line, button) => this.openMenu(line, button),
        folder: (group, button) => this.openFolderMenu(group, button),
      },
      (work) => this.attempt(work),
    );
    this.offerUndo();
  }

  /** @param {() => Promise<void>} work what may be refused */
  async attempt(work) {
    try {
      await work();
    } catch (error) {
      this.toast.show(reasonOf(error));
    }
  }

  /** @param {import("./rows.js").Line} line @param {HTMLElement} button */
  openMenu(line, button) {
    const { row } = line;
    const address = this.calls.addressOf(row.id);
    const pin = { icon: "pin", label: say(row.is_pinned ? "unpin" : "pin") };
    const share = { icon: "share", label: say("share") };
    this.menu.open(button, say("options", { title: row.title }), [
      { icon: "rename", label: say("rename"), onClick: () => this.rename(line) },
      { ...pin, onClick: () => this.attempt(() => this.pin(row)) },
      { icon: "folder", label: say("move"), onClick: () => this.move(row) },
      ...(this.canShare
        ? [{ ...share, onClick: () => openShareDialog(this.calls, row) }]
        : []),
      { icon: "eye", label: say("readers"), onClick: () => this.attempt(() => openReadersDialog(this.calls, row)) },
      { icon: "download", label: say("exportMarkdown"), href: `${address}export.md` },
      { icon: "download", label: say("exportJson"), href: `${address}export.json` },
      { icon: "archive", label: say("archive"), onClick: () => this.attempt(() => this.archive(row)) },
      { icon: "delete", label: say("delete"), isDanger: true, onClick: () => this.attempt(() => this.delete(row)) },
    ]);
  }

  // -- conversations -----------------------------------------------------------------------

  /** @param {import("./rows.js").Line} line */
  rename(line) {
    renameInPlace(line.link, line.row.title, say("newTitle"), (title) =>
      this.attempt(async () => {
        const row = await this.calls.change("rename", { conversation: line.row.id, title });
        this.renamed(row.id, row.title);
      }),
    );
  }

  /** @param {string} id @param {string} title */
  renamed(id, title) {
    this.list.update(id, { title });
    this.onRenamed(id, title);
  }

  /** @param {import("./rows.js").Row} row */
  async pin(row) {
    const fields = { is_pinned: !row.is_pinned };
    await this.calls.change("pin", { conversations: [row.id], ...fields });
    this.list.update(row.id, fields);
  }

  /** @param {import("./rows.js").Row} row */
  move(row) {
    const folders = this.list.folders.map((group) => group.folder);
    askFolder(row, folders, async (chosen, newName) => {
      let folder = chosen;
      if (newName) {
        const made = await this.calls.change("new_folder", { name: newName });
        this.list.open(this.list.addFolder(made));
        folder = made.id;
      }
      await this.calls.change("move", { conversations: [row.id], folder });
      this.list.update(row.id, { folder });
    });
  }

  /** @param {import("./rows.js").Row} row */
  async archive(row) {
    /** @param {boolean} is_archived */
    const change = async (is_archived) => {
      await this.calls.change("archive", { conversations: [row.id], is_archived });
      this.list.update(row.id, { is_archived });
    };
    await change(true);
    this.toast.show(say("archived", { title: row.title }), say("undo"), () =>
      this.attempt(() => change(false)),
    );
  }

  /** @param {import("./rows.js").Row} row */
  async delete(row) {
    await this.calls.change("delete", { conversations: [row.id] });
    if (row.id === this.list.shownId) {
      // What is shown is gone: the next page offers to bring it back.
      remember(DELETED, JSON.stringify(row), "tab");
      location.assign(this.calls.home);
      return;
    }
    this.list.remove(row.id);
    this.showUndo(row);
  }

  offerUndo() {
    const row = recall(DELETED, "tab");
    remember(DELETED, "", "tab");
    if (row) this.showUndo(JSON.parse(row));
  }

  /** @param {import("./rows.js").Row} row */
  showUndo(row) {
    const restore = async () => {
      await this.calls.change("restore", { conversations: [row.id] });
      this.list.take([row]);
      this.list.render();
    };
    this.toast.show(say("deleted", { title: row.title }), say("undo"), () =>
      this.attempt(restore),
    );
  }

  // -- folders -----------------------------------------------------------------------------

  /** @param {import("./rows.js").FolderGroup} group @param {HTMLElement} button */
  openFolderMenu(group, button) {
    this.menu.open(button, say("options", { title: group.folder.name }), [
      { icon: "rename", label: say("renameFolder"), onClick: () => this.renameFolder(group) },
      { icon: "delete", label: say("deleteFolder"), isDanger: true, onClick: () => this.attempt(() => this.deleteFolder(group)) },
    ]);
  }

  /** @param {import("./rows.js").FolderGroup} group */
  renameFolder(group) {
    renameInPlace(group.button, group.folder.name, say("renameFolder"), (name) =>
      this.attempt(async () => {
        const folder = group.folder.id;
        group.folder = await this.calls.change("rename_folder", { folder, name });
        this.list.sortFolders();
      }),
    );
  }

  /** @param {import("./rows.js").FolderGroup} group */
  async deleteFolder(group) {
    await this.calls.change("delete_folder", { folder: group.folder.id });
    this.list.removeFolder(group);
    this.toast.show(say("folderDeleted"));
  }
}
