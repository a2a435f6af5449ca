// @ts-check
/** Into which folder a conversation goes: one there is, a new one, or none. */

import { make } from "../dom.js";
import { say } from "../words.js";
import { reasonOf } from "./calls.js";
import { labelled, openDialog, select } from "./dialog.js";

const NONE = "";
const NEW = "new";

/**
 * @param {import("./rows.js").Row} row
 * @param {import("./rows.js").Folder[]} folders
 * @param {(folder: number | null, newName: string) => Promise<void>} onChosen
 */
export function askFolder(row, folders, onChosen) {
  /** @type {[string, string][]} */
  const options = [
    [NONE, say("noFolder")],
    ...folders.map(({ id, name }) => /** @type {[string, string]} */ ([String(id), name])),
    [NEW, say("newFolder")],
  ];
  const field = select(
    options,
    row.folder === null ? (folders.length ? NONE : NEW) : String(row.folder),
  );
  const name = make("input", { maxLength: 80, autocomplete: "off" });
  const named = labelled(say("folderName"), name);
  const refusal = make("p", { className: "field-error", hidden: true });
  refusal.setAttribute("role", "alert");
  const cancel = make("button", { type: "button", className: "button", textContent: say("cancel") });
  const move = make("button", { className: "button button-primary", textContent: say("moveAction") });
  const actions = make("div", { className: "dialog-actions" }, cancel, move);
  const form = make("form", { method: "dialog" }, labelled(say("folder"), field), named, refusal, actions);
  const dialog = openDialog(say("moveTitle", { title: row.title }), form);

  const change = () => {
    named.hidden = field.value !== NEW;
    name.required = !named.hidden;
    if (!named.hidden) name.focus();
  };
  field.onchange = change;
  cancel.onclick = () => dialog.close();
  form.onsubmit = async (event) => {
    event.preventDefault();
    const isNumber = field.value !== NONE && field.value !== NEW;
    try {
      await onChosen(isNumber ? Number(field.value) : null, named.hidden ? "" : name.value);
      dialog.close();
    } catch (error) {
      refusal.textContent = reasonOf(error);
      refusal.hidden = false;
    }
  };
  change();
}
