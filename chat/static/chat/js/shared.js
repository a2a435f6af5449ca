// @ts-check
/** A shared conversation: its answers are there as text, and become Markdown here. */

import { Markdown } from "./markdown.js";

for (const element of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-markdown]")
)) {
  const text = element.textContent ?? "";
  element.textContent = "";
  element.classList.remove("shared-raw");
  new Markdown(element).show(text, true);
}
