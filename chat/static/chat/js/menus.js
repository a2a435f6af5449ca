// @ts-check
/** Buttons that open a menu: by pointer and keyboard; a click elsewhere or Esc closes. */

/** @param {Element} menu */
function parts(menu) {
  return {
    button: /** @type {HTMLElement} */ (menu.querySelector("[data-menu-button]")),
    items: /** @type {HTMLElement} */ (menu.querySelector(".menu-items")),
  };
}

/** @param {Element} menu @param {boolean} isOpen */
export function setOpen(menu, isOpen) {
  const { button, items } = parts(menu);
  items.hidden = !isOpen;
  button.setAttribute("aria-expanded", String(isOpen));
}

/** @param {Element} menu */
const isOpen = (menu) => !parts(menu).items.hidden;

/** @param {Element} menu @param {number} step */
function moveFocus(menu, step) {
  /** @type {NodeListOf<HTMLElement>} */
  const found = parts(menu).items.querySelectorAll("a, button");
  const all = [...found];
  const from = all.findIndex((item) => item === document.activeElement);
  const to = from < 0 ? (step > 0 ? 0 : all.length - 1) : from + step;
  all.at(to % all.length)?.focus();
}

/** @param {HTMLElement} menu @param {KeyboardEvent} event */
function onKey(menu, event) {
  if (event.key === "Escape" && isOpen(menu)) {
    event.stopPropagation(); // the drawer that it is in stays
    setOpen(menu, false);
    parts(menu).button.focus();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    setOpen(menu, true);
    moveFocus(menu, event.key === "ArrowDown" ? 1 : -1);
  }
}

/** Make every `.menu` of the page work. */
export function enableMenus() {
  /** @type {NodeListOf<HTMLElement>} */
  const menus = document.querySelectorAll(".menu");
  for (const menu of menus) {
    parts(menu).button.addEventListener("click", () => setOpen(menu, !isOpen(menu)));
    menu.addEventListener("keydown", (event) => onKey(menu, event));
    menu.addEventListener("focusout", (event) => {
      const next = event.relatedTarget;
      if (next instanceof Node && !menu.contains(next)) setOpen(menu, false);
    });
  }
  document.addEventListener("pointerdown", (event) => {
    for (const menu of menus) {
      if (!menu.contains(/** @type {Node} */ (event.target))) setOpen(menu, false);
    }
  });
}
