// @ts-check
/** The page that waits for a worker: asks every other second how far it is. */

const status = /** @type {HTMLElement | null} */ (document.getElementById("arrival"));
const EVERY = 2000;

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @returns {HTMLElement}
 */
function part(element, name) {
  const found = element.querySelector(`[data-part="${name}"]`);
  if (found instanceof HTMLElement) return found;
  throw new Error(`the page has no part ${name}`);
}

/** @param {HTMLElement} element */
async function look(element) {
  try {
    const answer = await fetch(element.dataset.url ?? "", { headers: { Accept: "application/json" } });
    if (answer.ok) show(element, await answer.json());
  } catch {
    // The site is away a moment; what was known stays.
  }
  if (element.dataset.state !== "arrived") setTimeout(() => look(element), EVERY);
}

/**
 * @param {HTMLElement} element
 * @param {import("../../../../chat/frontend/types/fleet").Arrival} arrival
 */
function show(element, arrival) {
  element.dataset.state = arrival.state;
  part(element, "title").textContent = arrival.title;
  part(element, "advice").textContent = arrival.advice;
  const link = part(element, "link");
  link.hidden = !arrival.url;
  if (arrival.url && link instanceof HTMLAnchorElement) link.href = arrival.url;
}

if (status) look(status);
