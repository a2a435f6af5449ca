// @ts-check
/** ‹ 2 / 3 ›: from a message to the versions beside it. */

import { make } from "./dom.js";
import { actionButton } from "./toolbar.js";
import { count, say } from "./words.js";

/**
 * The control; null for a message that is the only one of its kind.
 * @param {{id: string, versions?: string[]}} message
 * @param {(id: string, action: string) => void} choose
 */
export function versionControl({ id, versions = [] }, choose) {
  if (versions.length < 2) return null;
  const at = versions.indexOf(id);
  /** @param {string} action @param {string} name @param {string} label @param {number} to */
  const step = (action, name, label, to) => {
    const button = actionButton(action, name, say(label), () => choose(versions[to], action));
    // Not `disabled`: the focus would be lost at the ends.
    button.setAttribute("aria-disabled", String(!versions[to]));
    if (!versions[to]) button.onclick = null;
    return button;
  };
  const values = { number: count(at + 1), count: count(versions.length) };
  const shown = make("span", { textContent: `${values.number} / ${values.count}` });
  shown.setAttribute("aria-label", say("versionOf", values));
  shown.setAttribute("role", "img");
  return make(
    "span",
    { className: "versions" },
    step("previous", "back", "previousVersion", at - 1),
    shown,
    step("next", "forth", "nextVersion", at + 1),
  );
}
