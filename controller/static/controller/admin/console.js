// @ts-check
// What django-unfold 0.91 leaves to the mouse: its menus for keyboards and screen readers,
// names for its fields with search, and the system's colours as they change.
"use strict";

// An attribute by which its templates make a button of anything.
const CLICKED = "[x-on\\:click]:not(button, summary, input, a[href], #changelist-filter-close)";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const alpine = () => /** @type {any} */ (window).Alpine;

/** @param {Element} element */
function isAround(element) {
  return element.querySelector("a[href], button, input") !== null;
}

/** Reach by Tab what is clicked, and say that it is a button. */
function makeButtons() {
  /** @type {NodeListOf<HTMLElement>} */
  const clicked = document.querySelectorAll(`${CLICKED}:not([tabindex])`);
  for (const element of clicked) {
    if (isAround(element)) continue;
    element.tabIndex = 0;
    element.setAttribute("role", "button");
    const column = element.closest("td[data-label]")?.getAttribute("data-label");
    if (column && element.matches(".material-symbols-outlined")) {
      element.setAttribute("aria-label", column);
    }
  }
}

/** The words before a field, or over its column. @param {HTMLSelectElement} field */
function labelOf(field) {
  const column = field.closest("td[data-label]")?.getAttribute("data-label");
  const words = field.labels[0]?.textContent ?? column ?? "";
  return words.trim().replace(/[:*]$/, "").trim();
}

/** Select2 puts elements of its own before the fields, which have no names. */
function nameFields() {
  for (const select of document.querySelectorAll("select")) {
    const name = labelOf(select);
    if (name && !select.labels.length) select.setAttribute("aria-label", name);
    const shown = select.nextElementSibling;
    if (!name || !shown?.matches(".select2")) continue;
    const chosen = [...select.selectedOptions].map((option) => option.text.trim()).join(", ");
    const box = shown.querySelector(".select2-selection--single");
    box?.removeAttribute("aria-labelledby");
    box?.setAttribute("aria-label", chosen ? `${name}: ${chosen}` : name);
    for (const part of shown.querySelectorAll(".select2-search__field, [role=textbox]")) {
      part.setAttribute("aria-label", name);
    }
  }
  const search = document.querySelector(".select2-dropdown .select2-search__field");
  const opened = document.querySelector("select + .select2-container--open")?.previousElementSibling;
  if (search && opened instanceof HTMLSelectElement) search.setAttribute("aria-label", labelOf(opened));
}

/** Django's tips are named pictures without a role. */
function nameTips() {
  for (const tip of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) {
    tip.setAttribute("role", "img");
  }
}

function mend() {
  makeButtons();
  nameFields();
  nameTips();
}

/** Enter and the space bar do what a click does. @param {KeyboardEvent} event */
function press(event) {
  const isPress = event.key === "Enter" || event.key === " ";
  const pressed = event.target;
  if (!isPress || !(pressed instanceof HTMLElement)) return;
  if (!pressed.matches(`${CLICKED}[role=button]`)) return;
  event.preventDefault();
  pressed.click();
}

/** The system's colours as they change; django-unfold reads them once, as a page opens. */
function wearColours() {
  const { adminTheme } = alpine().$data(document.documentElement);
  const isDark = adminTheme === "dark" || (adminTheme === "auto" && systemIsDark.matches);
  document.documentElement.classList.toggle("dark", isDark);
}

/** Django gives a new row's first field the focus, away from where the address leads. */
function goWhereAddressLeads() {
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

document.addEventListener("keydown", press);
// Later than Django's script, which a page's load waits for.
window.addEventListener("load", goWhereAddressLeads);
document.addEventListener("alpine:initialized", () => {
  mend();
  // Rows, menus and dialogs come later, and Select2 when the page is ready.
  let isWaiting = false;
  new MutationObserver(() => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      mend();
    });
  }).observe(document.body, { childList: true, subtree: true });
  alpine().effect(wearColours);
  systemIsDark.addEventListener("change", wearColours);
});
