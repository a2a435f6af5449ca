// @ts-check
/** Dialogs: a click beside one closes it, as Esc and its buttons do. */

/** @param {HTMLDialogElement} dialog */
export function enableSheet(dialog) {
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target === dialog) dialog.close(); // its contents cover the rest of it
  });
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
}
