// @ts-check
/** Keeps the latest words in view, until the reader scrolls up to read in peace. */

import { byId } from "./dom.js";

const NEAR = 60;

export class Scrolling {
  constructor() {
    this.scroller = byId("scroller");
    this.jump = byId("jump");
    this.isFollowing = true;
    this.lastTop = 0;
    this.scroller.addEventListener("scroll", () => this.look(), { passive: true });
    this.jump.onclick = () => this.follow();
    const grown = new ResizeObserver(() => this.keepUp());
    grown.observe(byId("transcript"));
    grown.observe(this.scroller);
  }

  get distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** Only a move upwards is a wish to stay: growing text also makes a distance. */
  look() {
    const { scrollTop } = this.scroller;
    if (this.distance < NEAR) this.isFollowing = true;
    else if (scrollTop < this.lastTop - 1) this.isFollowing = false;
    this.lastTop = scrollTop;
    this.jump.hidden = this.distance < NEAR * 2 || this.isFollowing;
    // Who reads stays at their line while messages above it get their true height.
    this.scroller.classList.toggle("is-read", !this.isFollowing);
  }

  /**
   * Let this element stay where it is on the screen while `change` puts others above.
   * @param {HTMLElement} element
   * @param {() => void} change
   */
  keepInPlace(element, change) {
    const before = element.getBoundingClientRect().top;
    change();
    this.scroller.scrollTop += element.getBoundingClientRect().top - before;
    this.lastTop = this.scroller.scrollTop;
  }

  /** Bring this element to the middle, for the reader to stay there. @param {HTMLElement} element */
  goTo(element) {
    this.isFollowing = false;
    this.scroller.classList.add("is-read");
    element.scrollIntoView({ block: "center" });
  }

  follow() {
    this.isFollowing = true;
    this.keepUp();
  }

  keepUp() {
    if (this.isFollowing) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.look();
  }
}
