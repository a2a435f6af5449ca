// @ts-check
// Buttons with data-copy="id" copy that element's text; data-copied is what they then say.
"use strict";

/** @param {HTMLElement} element */
function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const source = document.getElementById(button.dataset.copy ?? "");
  if (!source) return;
  // Selected in any case: over plain http there is no clipboard, and Ctrl-C is next.
  select(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    if (!document.execCommand("copy")) return;
  }
  const label = button.textContent;
  button.textContent = button.dataset.copied ?? "";
  button.disabled = true;
  setTimeout(() => {
    button.textContent = label;
    button.disabled = false;
  }, 1500);
}

document.addEventListener("click", (event) => {
  const { target } = event;
  const button = target instanceof Element ? target.closest("button[data-copy]") : null;
  if (button instanceof HTMLButtonElement) copy(button);
});
