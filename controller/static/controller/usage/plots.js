// @ts-check
/** The plots of a page: days, or shorter steps of time, as stacked bars or a line, in the
colours of their keys.

A plot is a `figure[data-plot]` whose caption has a `[data-series]` for each series: it
names a column of the page's data, and its colour is the series' colour. `days` or `times`
are the steps' beginnings, in UNIX seconds; of days the same numbers stand in a table. */

const { uPlot } = window;
const HEIGHT = 190;
const language = document.documentElement.lang || "en";
const compact = new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat(language, { maximumFractionDigits: 3 });
const dayFormat = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });

const timeFormat = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hour12: false });
const DAY_STEPS = [1, 2, 7, 14, 30, 60].map((days) => days * 86400);
const TIME_STEPS = [5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880].map((minutes) => minutes * 60);

/** @param {Element} element */
const colourOf = (element) => getComputedStyle(element).color;

class Plot {
  /**
   * @param {HTMLElement} figure
   * @param {Record<string, (number | null)[]>} columns
   */
  constructor(figure, columns) {
    this.figure = figure;
    this.keys = /** @type {HTMLElement[]} */ ([...figure.querySelectorAll("[data-series]")]);
    this.canvas = /** @type {HTMLElement} */ (figure.querySelector("[data-canvas]"));
    this.readout = /** @type {HTMLElement} */ (figure.querySelector("[data-readout]"));
    this.isDaily = "days" in columns;
    this.days = /** @type {number[]} */ (columns.days ?? columns.times);
    this.step = this.days.length > 1 ? this.days[1] - this.days[0] : 86400;
    this.values = this.keys.map((key) => columns[key.dataset.series ?? ""]);
    this.isLine = figure.dataset.plot === "line";
    this.draw();
    new ResizeObserver(() => this.fit()).observe(figure);
  }

  /** Each series on top of those before it; drawn from the tallest to the lowest. */
  stacked() {
    /** @type {number[]} */
    let below = this.days.map(() => 0);
    return this.values.map((values) => (below = below.map((sum, day) => sum + (values[day] ?? 0))));
  }

  draw() {
    this.chart?.destroy();
    const drawn = this.isLine ? this.values : this.stacked().reverse();
    const keys = this.isLine ? this.keys : [...this.keys].reverse();
    const text = colourOf(this.figure);
    const axis = { stroke: text, font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: `color-mix(in srgb, ${text} 16%, transparent)`, width: 1 };
    this.chart = new uPlot(
      {
        width: this.width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { show: this.isLine }, y: false },
        scales: {
          x: { time: false, range: (_plot, min, max) => [min - this.step / 2, max + this.step / 2] },
          y: { range: (_plot, _min, max) => [0, (max || 1) * 1.08] },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 32, space: 64, incrs: this.isDaily ? DAY_STEPS : TIME_STEPS, values: (_plot, at) => at.map((moment) => this.stepName(moment)), splits: (_plot, _axis, _min, _max, step) => this.splits(step) },
          { ...axis, grid, size: 54, values: (_plot, at) => at.map((value) => compact.format(value)) },
        ],
        series: [{}, ...keys.map((key) => this.seriesOf(colourOf(key)))],
        hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
      },
      [this.days, ...drawn],
      this.canvas,
    );
  }

  /** How a step is called: its day, or its time on the reader's clock. @param {number} seconds */
  stepName(seconds) {
    return (this.isDaily ? dayFormat : timeFormat).format(seconds * 1000);
  }

  /** Marks on the days themselves, from the last one back. @param {number} step */
  splits(step) {
    const every = Math.max(1, Math.round(step / this.step));
    return this.days.filter((_day, index) => (this.days.length - 1 - index) % every === 0);
  }

  /** @param {string} colour */
  seriesOf(colour) {
    if (this.isLine) {
      return { stroke: colour, width: 2, spanGaps: true, points: { show: this.days.length <= 90, size: 5, fill: colour } };
    }
    return { fill: colour, width: 0, paths: uPlot.paths.bars?.({ size: [0.7, 36] }), points: { show: false } };
  }

  /** Say the numbers of the day under the pointer. @param {number | null | undefined} index */
  read(index) {
    if (index == null) {
      this.readout.textContent = "";
      return;
    }
    const parts = this.keys.map((key, series) => {
      const value = this.values[series][index];
      return `${key.textContent?.trim()} ${value == null ? "–" : exact.format(value)}`;
    });
    this.readout.textContent = [this.stepName(this.days[index]), ...parts].join(" · ");
  }

  get width() {
    return Math.max(200, this.canvas.clientWidth);
  }

  fit() {
    if (this.chart?.width !== this.width) this.chart?.setSize({ width: this.width, height: HEIGHT });
  }
}

const carrier = document.getElementById("usage-plots");
if (carrier) {
  const columns = JSON.parse(carrier.textContent ?? "{}");
  const figures = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("figure[data-plot]")]);
  const plots = figures.map((figure) => new Plot(figure, columns));
  const redraw = () => plots.forEach((plot) => plot.draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["class", "data-theme"] });
}
