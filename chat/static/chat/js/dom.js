// @ts-check
/** Making and finding elements. Text only ever enters as text. */

/**
 * The element with this id, which the template promises.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * A new element; `options` are its properties, `children` its nodes or texts.
 * @param {string} tag
 * @param {Record<string, any>} [options]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, options);
  element.append(...children);
  return element;
}

/**
 * One of the page's icons.
 * @param {string} name
 * @param {string} [size] "small" or nothing
 */
export function icon(name, size) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", size ? `icon icon-${size}` : "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/**
 * A button with an icon and, for those who cannot see it, its name.
 * @param {string} name of the icon
 * @param {string} label
 * @param {() => void} onClick
 */
export function iconButton(name, label, onClick) {
  const button = make("button", { type: "button", title: label, onclick: onClick });
  button.setAttribute("aria-label", label);
  button.append(icon(name, "small"));
  return button;
}
