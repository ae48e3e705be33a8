// Draws the charts of a page from its JSON block with TradingView's Lightweight Charts.
// The block's format is described in reports/charts.py. `drawCharts(data)` may be called again with
// newer data: the charts of the page are then drawn anew.
"use strict";

// Classes of page.css -> how a line looks; colours are the page's own custom properties.
const STYLES = {
  benchmark: { color: "--ink", dashed: true },
  control: { color: "--grey", thin: true },
  other: { color: "--grey" },
  median: { color: "--c0" },
  fan: { color: "--c0" },
  outer: { color: "--c0", fill: 0.14 },
  inner: { color: "--c0", fill: 0.24 },
  followed: { color: "--soft" },
};
const DAY = 86400;
const RANGES = [["5 years", 1826], ["1 year", 365], ["3 months", 91], ["1 month", 30], ["1 week", 7], ["1 day", 1]];
const FEWEST_BARS = 15; // in a range that has a button

function cssColor(name, alpha = 1) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${alpha})`;
}

function look(style) {
  const [name, extra] = style.split(" ");
  const known = STYLES[name] || { color: `--c${name.slice(1)}` };
  return { ...known, dashed: known.dashed || extra === "dashed", dotted: extra === "dotted" };
}

function numberText(value, chart, digits = chart.digits) {
  const text = value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: chart.digits });
  return text.replace(/^-(?=[0.,]*$)/, "").replace("-", "\u2212") + chart.suffix;
}

function valueText(value, series, chart) {
  if (value === null || value === undefined || series.kind === "fan") return "";
  if (series.kind === "band") return value.map((edge) => numberText(edge, chart)).join(" to ");
  if (series.kind === "candles") return value.map((price) => numberText(price, chart)).join(" ");
  return numberText(value, chart);
}

function timeText(seconds, intraday) {
  const text = new Date(1000 * seconds).toISOString();
  return intraday ? text.slice(0, 16).replace("T", " ") : text.slice(0, 10);
}

// Runs `draw(bars, y)` for every stretch of visible bars without a gap. `bars` hold x in pixels of
// the canvas and the row that was given to setData.
class AreaRenderer {
  constructor(paint) { this.paint = paint; }
  update(data, options) { this.data = data; this.options = options; }
  draw(target, priceToCoordinate) {
    const { bars, visibleRange } = this.data || {};
    if (!bars || !visibleRange) return;
    target.useBitmapCoordinateSpace((scope) => {
      const shown = bars.slice(Math.max(0, visibleRange.from - 1), visibleRange.to + 1)
        .map((bar) => ({ x: bar.x * scope.horizontalPixelRatio, at: bar.time, row: bar.originalData }));
      const y = (price) => priceToCoordinate(price) * scope.verticalPixelRatio;
      scope.context.save();
      for (const piece of pieces(shown)) this.paint(scope, piece, y, this.options);
      scope.context.restore();
    });
  }
}

function pieces(bars) {
  const found = [];
  bars.forEach((bar, nth) => {
    if (nth === 0 || bar.at - bars[nth - 1].at > 1) found.push([]);
    found[found.length - 1].push(bar);
  });
  return found;
}

function paintBand(scope, bars, y, options) {
  const context = scope.context;
  context.beginPath();
  bars.forEach((bar) => context.lineTo(bar.x, y(bar.row.high)));
  bars.slice().reverse().forEach((bar) => context.lineTo(bar.x, y(bar.row.low)));
  context.closePath();
  context.fillStyle = options.fill;
  context.fill();
}

function paintFan(scope, bars, y, options) {
  const context = scope.context;
  context.lineWidth = 0.8 * scope.horizontalPixelRatio;
  context.strokeStyle = options.fill;
  for (let path = 0; path < bars[0].row.paths.length; path += 1) {
    context.beginPath();
    bars.forEach((bar) => context.lineTo(bar.x, y(bar.row.paths[path])));
    context.stroke();
  }
}

// A custom series of the library: rows have `low` and `high`, and what `paint` needs.
class AreaSeries {
  constructor(paint) { this.area = new AreaRenderer(paint); }
  renderer() { return this.area; }
  update(data, options) { this.area.update(data, options); }
  priceValueBuilder(row) { return [row.low, row.high, row.high]; }
  isWhitespace(row) { return row.low === undefined; }
  defaultOptions() { return { ...LightweightCharts.customSeriesDefaultOptions, fill: "" }; }
}

// Behind the series: the shaded times of a chart, and a dotted line.
class Backdrop {
  constructor(chart) { this.chart = chart; }
  attached({ chart }) { this.scale = chart.timeScale(); }
  paneViews() { return [this]; }
  zOrder() { return "bottom"; }
  renderer() { return this; }
  draw(target) {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      if (this.chart.shade) {
        context.fillStyle = cssColor("--seen");
        context.fillRect(0, 0, this.x(this.chart.shade - 0.5) * ratio, bitmapSize.height);
      }
      if (this.chart.mark !== null) {
        context.fillStyle = cssColor("--soft");
        const x = Math.round(this.x(this.chart.mark) * ratio);
        for (let y = 0; y < bitmapSize.height; y += 6) context.fillRect(x, y, 1, 3);
      }
    });
  }
  x(index) { // of an index that may lie between two times
    const [left, right] = [0, 1].map((more) => this.scale.logicalToCoordinate(Math.floor(index) + more));
    return left + (right - left) * (index - Math.floor(index));
  }
}

// One chart of the page in its figure.
class DrawnChart {
  constructor(chart, page) {
    this.chart = chart;
    this.page = page;
    this.figure = document.getElementById(chart.id);
    this.hidden = new Set(); // indices of series
    const box = this.figure.querySelector(".chart");
    const inner = element("div");
    box.replaceChildren(inner);
    this.api = LightweightCharts.createChart(inner, this.options());
    // a line without values, so that every chart of the page has every time
    this.addSeries({ kind: "line" }).setData(page.times.map((time) => ({ time })));
    // the first series is the subject: added last, on top
    this.drawn = chart.series.map((series) => ({ series }));
    for (const entry of this.drawn.slice().reverse()) entry.api = this.addSeries(entry.series);
    this.drawn.forEach((entry) => this.setData(entry));
    this.stack();
    this.api.panes()[0].attachPrimitive(new Backdrop(chart));
    this.recolor();
    this.api.timeScale().fitContent();
    // the wheel scrolls the page; with Ctrl it zooms
    const leave = (event) => { if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); };
    inner.addEventListener("wheel", leave, { capture: true, passive: true });
    this.legend = new Legend(this);
  }

  options() {
    const { chart, page } = this;
    return {
      autoSize: true,
      layout: { attributionLogo: false, background: { color: "transparent" }, fontFamily: getComputedStyle(document.body).fontFamily },
      rightPriceScale: { borderVisible: false, mode: chart.log ? 1 : 0, scaleMargins: { top: 0.06, bottom: 0.06 } },
      timeScale: { borderVisible: false, timeVisible: page.intraday, secondsVisible: false, minBarSpacing: 0.005, lockVisibleTimeRangeOnResize: true, fixLeftEdge: true, fixRightEdge: true },
      crosshair: { mode: LightweightCharts.CrosshairMode.Normal },
      handleScroll: { vertTouchDrag: false },
      localization: { locale: "en-US", timeFormatter: (seconds) => timeText(seconds, page.intraday) },
    };
  }

  addSeries(series) {
    const { chart } = this;
    const options = {
      lastValueVisible: false,
      priceLineVisible: false,
      priceFormat: { type: "custom", minMove: 10 ** -chart.digits, formatter: (value) => numberText(value, chart, 0) },
    };
    if (chart.zero) options.autoscaleInfoProvider = withZero;
    if (series.kind === "candles") return this.api.addSeries(LightweightCharts.CandlestickSeries, options);
    if (series.kind === "line") return this.api.addSeries(LightweightCharts.LineSeries, options);
    return this.api.addCustomSeries(new AreaSeries(series.kind === "fan" ? paintFan : paintBand), options);
  }

  setData(entry) {
    if (entry.series.kind === "stack") return; // its place depends on the others
    const rows = { line: lineRow, band: bandRow, fan: fanRow, candles: candleRow };
    const row = rows[entry.series.kind];
    entry.api.setData(this.rows(entry.series.values, row));
  }

  rows(values, row) {
    const found = [];
    values.forEach((value, nth) => { if (value !== null) found.push({ time: this.page.times[nth], ...row(value) }); });
    return found;
  }

  // Pile up the areas that are shown: what is above 0 upwards, what is below it downwards.
  stack() {
    const up = this.page.times.map(() => 0);
    const down = up.slice();
    this.drawn.forEach(({ series, api }, nth) => {
      if (series.kind !== "stack" || this.hidden.has(nth)) return;
      api.setData(series.values.map((value, at) => {
        const pile = value < 0 ? down : up;
        const from = pile[at];
        pile[at] += value || 0;
        return { time: this.page.times[at], low: Math.min(from, pile[at]), high: Math.max(from, pile[at]) };
      }));
    });
  }

  show(indices, visible) {
    for (const nth of indices) {
      if (visible) this.hidden.delete(nth); else this.hidden.add(nth);
      this.drawn[nth].api.applyOptions({ visible });
    }
    this.stack();
  }

  recolor() {
    const line = { color: cssColor("--rule") };
    this.api.applyOptions({ layout: { textColor: cssColor("--soft") }, grid: { vertLines: line, horzLines: line } });
    for (const { series, api } of this.drawn) api.applyOptions(this.colors(series));
  }

  colors({ kind, style }) {
    const { color, dashed, dotted, thin, fill } = look(style);
    if (kind === "fan") return { fill: cssColor(color, 0.2) };
    if (kind === "band") return { fill: cssColor(color, fill), color: cssColor(color) };
    if (kind === "stack") return { fill: cssColor(color, 0.75), color: cssColor(color) };
    if (kind === "candles") {
      const [up, down] = style === "followed" ? ["--soft", "--soft"] : ["--up", "--down"];
      const options = { upColor: up, wickUpColor: up, borderUpColor: up, downColor: down, wickDownColor: down, borderDownColor: down };
      return Object.fromEntries(Object.entries(options).map(([name, each]) => [name, cssColor(each)]));
    }
    const lineStyle = dashed ? LightweightCharts.LineStyle.Dashed : dotted ? LightweightCharts.LineStyle.Dotted : LightweightCharts.LineStyle.Solid;
    return { color: cssColor(color), lineWidth: thin ? 1 : 2, lineStyle, crosshairMarkerVisible: !thin };
  }

  // A number of a shown series near an index, to hang another chart's crosshair on.
  priceAt(index) {
    for (const [nth, { series, api }] of this.drawn.entries()) {
      const value = series.values[index];
      if (typeof value === "number" && !this.hidden.has(nth)) return [value, api];
    }
    return null;
  }

  // The time that another chart's crosshair is at; null: none.
  follow(index) {
    this.lead(false);
    const place = index === null ? null : this.priceAt(index);
    if (place) this.api.setCrosshairPosition(place[0], this.page.times[index], place[1]);
    else this.api.clearCrosshairPosition();
  }

  // Whether the pointer is over this chart: only then a level is shown as well as a time.
  lead(leads) {
    if (this.leads === leads) return;
    this.leads = leads;
    this.api.applyOptions({ crosshair: { horzLine: { visible: leads, labelVisible: leads } } });
  }
}

const lineRow = (value) => ({ value });
const bandRow = ([low, high]) => ({ low, high });
const fanRow = (paths) => ({ low: Math.min(...paths), high: Math.max(...paths), paths });
const candleRow = ([open, high, low, close]) => ({ open, high, low, close });

function withZero(original) {
  const found = original();
  if (found && found.priceRange) {
    found.priceRange.minValue = Math.min(0, found.priceRange.minValue);
    found.priceRange.maxValue = Math.max(0, found.priceRange.maxValue);
  }
  return found;
}

// The list above a chart: a button a series, with its value under the crosshair or its last one.
class Legend {
  constructor(drawn) {
    this.drawn = drawn;
    this.values = [];
    this.list = drawn.figure.querySelector(".legend");
    this.list.replaceChildren();
    this.when = this.list.appendChild(element("li", "when"));
    const groups = new Map();
    drawn.chart.series.forEach((series, nth) => {
      if (!series.group) this.list.append(this.item(nth));
      else groups.set(series.group, [...(groups.get(series.group) || []), nth]);
    });
    for (const [noun, members] of groups) this.list.append(this.group(noun, members));
    this.show(null);
  }

  item(nth) {
    const series = this.drawn.chart.series[nth];
    const item = element("li");
    item.append(this.button([nth], series, series.name));
    this.values[nth] = item.appendChild(element("i"));
    this.values[nth].style.minWidth = `${this.widest(series)}ch`; // so that the list stands still
    return item;
  }

  widest(series) {
    const known = series.values.filter((value) => value !== null);
    const numbers = known.flat();
    const ends = [Math.min, Math.max].map((end) => numbers.reduce((a, b) => end(a, b), known.length ? numbers[0] : 0));
    const like = known.length && Array.isArray(known[0]) ? known[0] : null;
    return Math.max(...ends.map((end) => valueText(like ? like.map(() => end) : end, series, this.drawn.chart).length));
  }

  group(noun, members) {
    const item = element("li", "several");
    const title = `${members.length} ${noun}${members.length > 1 ? "s" : ""}`;
    const names = element("details");
    names.append(element("summary", "", "names"));
    const list = names.appendChild(element("ul", "legend"));
    members.forEach((nth) => list.append(this.item(nth)));
    item.append(this.button(members, this.drawn.chart.series[members[0]], title), names);
    return item;
  }

  button(members, series, text) {
    const button = element("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.title = "hide or show";
    button.append(element("span", `swatch ${series.kind} ${series.style}`), text);
    button.addEventListener("click", () => {
      const visible = button.getAttribute("aria-pressed") !== "true";
      this.drawn.show(members, visible);
      const inside = button.parentNode.querySelectorAll("button");
      inside.forEach((each) => each.setAttribute("aria-pressed", String(visible)));
    });
    return button;
  }

  show(index) {
    const { chart, page } = this.drawn;
    this.when.textContent = timeText(page.times[index === null ? page.times.length - 1 : index], page.intraday);
    chart.series.forEach((series, nth) => {
      const value = index === null ? series.values.findLast((each) => each !== null) : series.values[index];
      this.values[nth].textContent = valueText(value, series, chart);
    });
  }
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

// Charts of a page move together: the same stretch of time, the same time under the crosshair.
function join(charts, page) {
  const indexOf = new Map(page.times.map((time, nth) => [time, nth]));
  let following = false; // the charts are being moved by one of them
  const follow = (leader, act) => {
    if (following) return;
    following = true;
    for (const each of charts) if (each !== leader) act(each);
    following = false;
  };
  for (const leader of charts) {
    leader.api.subscribeCrosshairMove((event) => {
      if (following) return;
      const index = event.time === undefined ? null : indexOf.get(event.time);
      leader.lead(true);
      for (const each of charts) each.legend.show(index);
      follow(leader, (each) => each.follow(index));
    });
    leader.api.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range) follow(leader, (each) => each.api.timeScale().setVisibleLogicalRange(range));
    });
  }
}

// The same width for the scales of all charts, so that the same time is at the same place in each.
function alignScales(charts) {
  const scales = charts.map((each) => each.api.priceScale("right"));
  const minimumWidth = Math.max(...scales.map((scale) => scale.width()));
  scales.forEach((scale) => scale.applyOptions({ minimumWidth }));
  requestAnimationFrame(() => charts.forEach((each) => each.api.timeScale().fitContent()));
}

// Buttons for the last year, month ..., where the page has a place for them.
function addRangeButtons(charts, page) {
  const bar = document.querySelector(".ranges");
  if (!bar || !charts.length || page.times.length < 2) return;
  const last = page.times.length - 1;
  const scale = charts[0].api.timeScale();
  const add = (text, act) => {
    const button = bar.appendChild(element("button", "", text));
    button.type = "button";
    button.addEventListener("click", act);
  };
  bar.replaceChildren();
  add("All", () => scale.fitContent());
  for (const [text, days] of RANGES) {
    const first = page.times.findIndex((time) => time > page.times[last] - days * DAY);
    if (first > 0 && last - first >= FEWEST_BARS) add(text, () => scale.setVisibleLogicalRange({ from: first, to: last }));
  }
  bar.append(element("span", "", "Drag to move; Ctrl and the wheel, or two fingers, to zoom; a name hides its line."));
}

let drawnCharts = [];

function drawCharts(page) {
  drawnCharts.forEach((each) => each.api.remove());
  drawnCharts = page.charts.map((chart) => new DrawnChart(chart, page));
  join(drawnCharts, page);
  addRangeButtons(drawnCharts, page);
  const shown = drawnCharts; // widths are known once they are painted
  requestAnimationFrame(() => requestAnimationFrame(() => { if (shown === drawnCharts) alignScales(shown); }));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawnCharts.forEach((each) => each.recolor()));
drawCharts(JSON.parse(document.getElementById("chart-data").textContent));
