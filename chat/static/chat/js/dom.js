// @ts-check
/** Making and finding elements. Text only ever enters as text. */

/**
 * The element with this id, which the template promises, and of this kind.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  return promised(document.getElementById(id), `#${id}`, kind);
}

/**
 * The first element below `root` that fits, which its template promises.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function within(root, selector, kind) {
  return promised(root.querySelector(selector), selector, kind);
}

/**
 * The first element below `root` that fits, if there is one.
 * @param {ParentNode} root
 * @param {string} selector
 */
export function seek(root, selector) {
  const found = root.querySelector(selector);
  return found instanceof HTMLElement ? found : null;
}

/**
 * @template {HTMLElement} T
 * @param {Element | null} found
 * @param {string} name
 * @param {new () => T} [kind]
 * @returns {T}
 */
function promised(found, name, kind) {
  if (found instanceof (kind ?? HTMLElement)) return /** @type {T} */ (found);
  throw new Error(`the page has no ${name} that is ${kind?.name ?? "an element"}`);
}

/**
 * A new element; `options` are its properties, `children` its nodes or texts.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [options]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
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
