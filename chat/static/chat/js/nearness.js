// @ts-check
/**
 * Messages far from what is read keep their words alone, which can be found on the page
 * and heard as before: one of 2,000 messages stays as quick as a short one.
 */

// In heights of the scroller. Farther than where the browser begins to lay messages out.
const NEAR = "300% 0px";
// What is not laid out stands there with the height that it had last.
const KEEPS_HEIGHTS = CSS.supports("content-visibility", "auto");

/** @typedef {{element: HTMLElement, isInUse: boolean,
 *   setLight: (isLight: boolean) => void}} View */

export class Nearness {
  /** @param {HTMLElement} scroller */
  constructor(scroller) {
    /** @type {WeakMap<Element, View>} */
    this.views = new WeakMap();
    this.observer = new IntersectionObserver(
      (entries) => this.look(entries),
      { root: scroller, rootMargin: NEAR },
    );
  }

  /** @param {View} view */
  watch(view) {
    this.views.set(view.element, view);
    this.observer.observe(view.element);
  }

  /** @param {View} view */
  forget(view) {
    this.observer.unobserve(view.element);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  look(entries) {
    // Asked once, before anything changes: each time has the page's styles worked out.
    const focused = document.activeElement;
    const selection = getSelection();
    const isSelecting = selection !== null && !selection.isCollapsed;
    for (const { target, isIntersecting } of entries) {
      const view = this.views.get(target);
      const isHeld =
        target.contains(focused) || (isSelecting && selection.containsNode(target, true));
      if (isIntersecting) view?.setLight(false);
      else if (KEEPS_HEIGHTS && !isHeld && !view?.isInUse) view?.setLight(true);
    }
  }
}
