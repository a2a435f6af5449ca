// @ts-check
/** The lists of conversations: one tick for all of them. */

const all = /** @type {HTMLInputElement | null} */ (document.getElementById("tick-all"));
/** @type {NodeListOf<HTMLInputElement>} */
const found = document.querySelectorAll("input[name=ids]");
const ticks = [...found];

function count() {
  const number = ticks.filter((tick) => tick.checked).length;
  if (!all) return;
  all.checked = number === ticks.length;
  all.indeterminate = number > 0 && number < ticks.length;
}

if (all) all.onchange = () => ticks.forEach((tick) => (tick.checked = all.checked));
for (const tick of ticks) tick.onchange = count;
