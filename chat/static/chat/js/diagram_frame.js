// @ts-check
// Runs in a sandboxed frame: it gets the source of a diagram and answers with an SVG. The
// page shows that as a picture, so it must be well-formed XML, and say its size.

const { mermaid } = window;
let numDrawn = 0;

/** @param {string} source @param {"dark" | "default"} theme */
async function draw(source, theme) {
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: "strict",
    suppressErrorRendering: true,
    htmlLabels: false, // in a picture, text must be SVG's own
    maxTextSize: 20_000,
    maxEdges: 300,
    fontFamily: "system-ui, sans-serif",
    themeCSS: ".edgeLabel rect { opacity: 1; }", // or its line runs through the label
    theme,
  });
  numDrawn += 1;
  const { svg } = await mermaid.render(`diagram-${numDrawn}`, source);
  const holder = document.createElement("div");
  holder.innerHTML = svg;
  const element = /** @type {SVGSVGElement} */ (holder.firstElementChild);
  const { width, height } = element.viewBox.baseVal;
  element.setAttribute("width", String(width));
  element.setAttribute("height", String(height));
  return { svg: new XMLSerializer().serializeToString(element), width, height };
}

addEventListener("message", async ({ data, ports }) => {
  try {
    ports[0].postMessage(await draw(data.source, data.theme));
  } catch {
    ports[0].postMessage(null); // no diagram: the page shows the source
  }
});
