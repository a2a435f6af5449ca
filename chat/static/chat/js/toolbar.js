// @ts-check
/** The row of buttons under a message: one stop for Tab, arrows move within it. */

import { iconButton, make, seek } from "./dom.js";
import { openMenu } from "./popup.js";
import { say } from "./words.js";

/**
 * A button whose `action` is how the keyboard finds it.
 * @param {string} action
 * @param {string} name of the icon
 * @param {string} label
 * @param {() => void} onClick
 */
export function actionButton(action, name, label, onClick) {
  const button = iconButton(name, label, onClick);
  button.dataset.action = action;
  return button;
}

/**
 * A button that opens a menu of what `items` gives then.
 * @param {string} action
 * @param {string} name of the icon
 * @param {string} label
 * @param {() => import("./popup.js").Item[]} items
 */
export function menuButton(action, name, label, items) {
  const button = actionButton(action, name, label, () => openMenu(button, label, items()));
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  return button;
}

/** @param {HTMLElement} bar */
const buttonsOf = (bar) => [...bar.querySelectorAll("button")];

/** @param {HTMLElement} bar @param {HTMLElement} stop */
function setStop(bar, stop) {
  for (const each of buttonsOf(bar)) each.tabIndex = each === stop ? 0 : -1;
}

/** @param {HTMLElement} bar @param {KeyboardEvent} event */
function onKey(bar, event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const buttons = buttonsOf(bar);
  const from = buttons.findIndex((button) => button === event.target);
  if (!step || from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  const next = buttons[(from + step + buttons.length) % buttons.length];
  setStop(bar, next);
  next.focus();
}

/** @returns {HTMLElement} an empty bar */
export function makeToolbar() {
  const bar = make("div", { className: "message-foot" });
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", say("messageTools"));
  bar.onkeydown = (event) => onKey(bar, event);
  return bar;
}

/**
 * Show these in the bar; whoever stood on one of its buttons stands on its successor, or
 * on the first where there is none.
 * @param {HTMLElement} bar
 * @param {(Node | null | false | "")[]} parts
 */
export function fillToolbar(bar, parts) {
  const focused = seek(bar, ":focus");
  const action = focused?.dataset.action;
  bar.replaceChildren(...parts.filter((part) => part instanceof Node));
  const [first] = buttonsOf(bar);
  if (first) setStop(bar, first);
  if (!focused) return;
  const successor = action && seek(bar, `[data-action="${action}"]`);
  (successor || first)?.focus();
}
