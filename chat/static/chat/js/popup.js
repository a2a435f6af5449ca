// @ts-check
/** A menu above the page, at the button that opens it. There is one at a time. */

import { icon, make, seek } from "./dom.js";

const GAP = 6;
const MARGIN = 8;

/**
 * @typedef {object} Item
 * @property {string} label
 * @property {string} [icon]
 * @property {string} [detail] a second, smaller line
 * @property {() => void} onChoose
 */

/** @param {HTMLElement} menu @param {HTMLElement} button */
function place(menu, button) {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = Math.min(at.left, innerWidth - width - MARGIN);
  const isRoomBelow = at.bottom + GAP + height + MARGIN <= innerHeight;
  const top = isRoomBelow ? at.bottom + GAP : Math.max(MARGIN, at.top - GAP - height);
  menu.style.left = `${Math.max(MARGIN, left)}px`;
  menu.style.top = `${top}px`;
}

/** @param {Item} item @param {HTMLElement} menu */
function itemButton(item, menu) {
  const words = make("span", {}, item.label);
  if (item.detail) words.append(make("small", { textContent: item.detail }));
  const button = make("button", { type: "button", className: "menu-item", tabIndex: -1 });
  button.setAttribute("role", "menuitem");
  if (item.icon) button.append(icon(item.icon, "small"));
  button.append(words);
  button.onclick = () => {
    menu.hidePopover();
    item.onChoose();
  };
  return button;
}

/** @param {HTMLElement} menu @param {KeyboardEvent} event */
function moveFocus(menu, event) {
  const items = [...menu.querySelectorAll("button")];
  const from = items.findIndex((item) => item === document.activeElement);
  /** @type {Record<string, number>} */
  const steps = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: -1 };
  if (event.key === "Tab") menu.hidePopover();
  if (!(event.key in steps)) return;
  event.preventDefault();
  items.at(steps[event.key] % items.length)?.focus();
}

/**
 * Open the menu; Esc, Tab, a click elsewhere or a choice closes it, and whoever came by
 * keyboard is back at the button.
 * @param {HTMLElement} button
 * @param {string} label
 * @param {Item[]} items
 */
export function openMenu(button, label, items) {
  const menu = make("div", { className: "popup", popover: "auto" });
  menu.setAttribute("role", "menu");
  menu.setAttribute("aria-label", label);
  menu.append(...items.map((item) => itemButton(item, menu)));
  menu.onkeydown = (event) => moveFocus(menu, event);
  menu.ontoggle = (event) => {
    button.setAttribute("aria-expanded", String(event.newState === "open"));
    if (event.newState === "closed") menu.remove();
  };
  document.body.append(menu);
  menu.showPopover();
  place(menu, button);
  seek(menu, "button")?.focus();
}
