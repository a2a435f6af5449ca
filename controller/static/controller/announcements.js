// @ts-check
/** Announcements that the reader has put away stay away, in this browser. */

const KEY = "switchyard.announcements";

/** @returns {string[]} */
function putAway() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

for (const line of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-announcement]"))) {
  const id = line.dataset.announcement ?? "";
  const button = /** @type {HTMLElement | null} */ (line.querySelector("[data-dismiss]"));
  if (button && putAway().includes(id)) line.remove();
  button?.addEventListener("click", () => {
    localStorage.setItem(KEY, JSON.stringify([...putAway(), id].slice(-100)));
    line.remove();
  });
}
