/** What third-party scripts that are no modules leave on the page. */

import type katex from "katex";
import type mermaid from "mermaid";
import type uPlot from "uplot";

declare global {
  interface Window {
    katex: typeof katex;
    mermaid: typeof mermaid;
    uPlot: typeof uPlot;
  }
}
