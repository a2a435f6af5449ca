// @ts-check
/** Sparklines: some numbers as a line of SVG, from 0 to the greatest of them. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 24;

/**
 * Draw the values, oldest first, into an element; null is a gap.
 * @param {Element} element
 * @param {(number | null)[]} values
 */
export function spark(element, values) {
  const svg = element.firstElementChild ?? element.appendChild(document.createElementNS(SVG, "svg"));
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = svg.firstElementChild ?? svg.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("d", line(values));
}

/** @param {(number | null)[]} values */
function line(values) {
  const most = Math.max(...values.map((value) => value ?? 0), Number.MIN_VALUE);
  const step = WIDTH / Math.max(1, values.length - 1);
  let isDrawn = false;
  return values
    .map((value, index) => {
      if (value === null) {
        isDrawn = false;
        return "";
      }
      const move = isDrawn ? "L" : "M";
      isDrawn = true;
      return `${move}${(index * step).toFixed(1)},${(HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1)}`;
    })
    .join("");
}
