// @ts-check
/** The choice between light, dark, and whatever the system says. */

import { recall, remember } from "./memory.js";

/** @type {NodeListOf<HTMLElement>} */
const buttons = document.querySelectorAll("[data-theme-choice]");

function showChoice() {
  const chosen = recall("theme") ?? "system";
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen));
  }
}

/** @param {string} theme */
function choose(theme) {
  remember("theme", theme === "system" ? "" : theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  showChoice();
}

export function enableAppearance() {
  for (const button of buttons) {
    button.onclick = () => choose(button.dataset.themeChoice ?? "system");
  }
  showChoice();
}
