// Charts that grow while they are looked at. Shares its classes with charts.js, which comes first.
"use strict";

const FEWEST_SHOWN = 40; // bars of a symbol that are shown to begin with,
const MOST_SHOWN = 160; // as many as there is room for

// Where `time` stands, or would stand, in ascending times.
function placeOf(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
}

// Decimal places that show a price to five digits, two at least.
function placesOf(price) {
  return price > 0 ? Math.max(2, 4 - Math.floor(Math.log10(price))) : 2;
}

class LiveChart {
  constructor(id, intraday) {
    this.figure = document.getElementById(id);
    this.intraday = intraday;
    this.times = []; // every time that is on the axis
    const own = { chart: { log: false }, page: { intraday } };
    const box = this.figure.querySelector(".chart > div");
    this.api = LightweightCharts.createChart(box, DrawnChart.prototype.options.call(own));
    const leave = (event) => { if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); };
    box.addEventListener("wheel", leave, { capture: true, passive: true });
    this.api.subscribeCrosshairMove((event) => this.legend(event.time));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolor());
  }

  options(digits, suffix = "") {
    const chart = { digits, suffix };
    return {
      lastValueVisible: true,
      priceLineVisible: false,
      priceFormat: { type: "custom", minMove: 10 ** -digits, formatter: (value) => numberText(value, chart, suffix ? 0 : digits) },
    };
  }

  line(style, digits, suffix, pane) {
    const series = this.api.addSeries(LightweightCharts.LineSeries, this.options(digits, suffix), pane);
    series.applyOptions({ lineWidth: 2, color: cssColor(look(style).color) });
    return series;
  }

  // Change what is drawn while what is looked at stays in place: a view of everything stays one, a
  // view of the newest bar goes with it, and any other does not move.
  keep(change) {
    const scale = this.api.timeScale();
    const range = scale.getVisibleLogicalRange();
    const before = this.times;
    change();
    if (!this.times.length) return;
    if (!before.length || !range) { this.begin(); return; }
    const [last, now] = [before.length - 1, this.times.length - 1];
    if (range.from < 1 && range.to > last - 1 && this.isWhole) { scale.fitContent(); return; }
    const at = Math.min(last, Math.max(0, Math.round(range.from)));
    const moved = range.to > last - 1 ? now - last : placeOf(this.times, before[at]) - at;
    scale.setVisibleLogicalRange({ from: range.from + moved, to: range.to + moved });
  }

  recolor() {
    const line = { color: cssColor("--rule") };
    const layout = { textColor: cssColor("--soft"), panes: { separatorColor: cssColor("--rule"), enableResize: false } };
    this.api.applyOptions({ layout, grid: { vertLines: line, horzLines: line } });
  }

  put(name, text) { this.figure.querySelector(`.legend .${name}`).textContent = text; }
}

// What the account was worth, and its drawdown below it.
class AccountChart extends LiveChart {
  constructor(intraday) {
    super("account", intraday);
    this.isWhole = true;
    this.rows = [];
    this.digits = 2;
    this.value = this.line("s0", 2, "", 0);
    this.drawdown = this.line("s1", 2, " %", 1);
    this.drawdown.applyOptions({ autoscaleInfoProvider: withZero });
    const [upper, lower] = this.api.panes();
    upper.setStretchFactor(2);
    lower.setStretchFactor(1);
    this.recolor();
  }

  begin() { this.api.timeScale().fitContent(); }

  whole(rows) {
    this.keep(() => {
      this.rows = rows;
      this.times = rows.map((row) => row[0]);
      this.value.setData(rows.map(([time, value]) => ({ time, value })));
      this.drawdown.setData(rows.map(([time, , value]) => ({ time, value })));
      this.scaleTo(rows);
    });
    this.legend();
  }

  scaleTo(rows) {
    if (rows.length) this.digits = Math.abs(rows[0][1]) >= 10000 ? 0 : 2;
    this.value.applyOptions(this.options(this.digits));
  }

  add(rows) {
    const newest = this.times.length ? this.times[this.times.length - 1] : -Infinity;
    const later = rows.filter((row) => row[0] > newest);
    if (!later.length) return;
    this.keep(() => {
      if (!this.rows.length) this.scaleTo(later);
      this.rows.push(...later);
      this.times = this.times.concat(later.map((row) => row[0]));
      for (const [time, value, drawdown] of later) {
        this.value.update({ time, value });
        this.drawdown.update({ time, value: drawdown });
      }
    });
    this.legend();
  }

  legend(time) {
    if (!this.rows.length) return;
    const row = this.rows[time === undefined ? this.rows.length - 1 : placeOf(this.times, time)];
    if (!row) return;
    this.put("when", timeText(row[0], this.intraday));
    this.put("value", numberText(row[1], { digits: this.digits, suffix: "" }));
    this.put("drawdown", numberText(row[2], { digits: 2, suffix: " %" }));
  }

  recolor() {
    super.recolor();
    this.value.applyOptions({ color: cssColor("--c0") });
    this.drawdown.applyOptions({ color: cssColor("--c1") });
  }
}

// Candles of one symbol, fills on them, and one forecast's fan.
class SymbolChart extends LiveChart {
  constructor(intraday, started) {
    super("symbol", intraday);
    this.started = started;
    this.backdrop = { shade: 0, mark: null };
    this.bands = ["outer", "inner"].map((style) => {
      const series = this.api.addCustomSeries(new AreaSeries(paintBand), { ...this.options(2), lastValueVisible: false });
      return { style, series };
    });
    this.candles = this.api.addSeries(LightweightCharts.CandlestickSeries, this.options(2));
    this.median = this.line("median", 2);
    this.median.applyOptions({ lastValueVisible: false });
    this.arrows = LightweightCharts.createSeriesMarkers(this.candles, []);
    this.api.panes()[0].attachPrimitive(new Backdrop(this.backdrop));
    this.clear();
    this.recolor();
  }

  // Nothing of a symbol any more; the next one is shown from its newest bars.
  clear() {
    this.bars = [];
    this.marks = [];
    this.times = [];
    this.fan = null; // the forecast that is shown, with bands or without
    this.drawn = null; // the same, if it has bands
  }

  begin() {
    const room = Math.round(this.figure.clientWidth / 7);
    this.reach(Math.min(MOST_SHOWN, Math.max(FEWEST_SHOWN, room)));
  }

  // Show so many of the newest bars, and the fan.
  reach(bars) {
    const to = this.times.length - 0.5;
    this.api.timeScale().setVisibleLogicalRange({ from: Math.max(-0.5, this.bars.length - bars - 0.5), to });
  }

  whole(bars, marks, fan) {
    this.keep(() => {
      this.bars = bars;
      this.candles.setData(bars.map(([time, ...prices]) => ({ time, ...candleRow(prices) })));
      if (bars.length) this.scaleTo(bars[bars.length - 1][4]);
      this.setFan(fan);
    });
    this.marks = [];
    this.mark(marks);
    this.legend();
  }

  // Later bars, and another fan if there is one.
  add(bars, marks, fan = this.fan) {
    const newest = this.bars.length ? this.bars[this.bars.length - 1][0] : -Infinity;
    const later = bars.filter((bar) => bar[0] > newest);
    if (later.length || fan !== this.fan) this.keep(() => {
      this.setFan(null); // its times may lie before the new bars'
      for (const bar of later) {
        this.bars.push(bar);
        this.candles.update({ time: bar[0], ...candleRow(bar.slice(1)) });
      }
      this.setFan(fan);
    });
    if (marks.length) this.mark(marks);
    this.legend();
  }

  // Bars before the first one, and the fills on them.
  prepend(bars, marks) {
    const earlier = bars.filter((bar) => bar[0] < this.first);
    this.keep(() => {
      this.bars = earlier.concat(this.bars);
      this.candles.setData(this.bars.map(([time, ...prices]) => ({ time, ...candleRow(prices) })));
      this.setFan(this.fan);
    });
    this.marks = marks.concat(this.marks);
    this.mark([]);
  }

  scaleTo(price) {
    const digits = placesOf(price);
    if (digits === this.digits) return;
    this.digits = digits;
    for (const each of [this.candles, this.median, ...this.bands.map(({ series }) => series)]) {
      each.applyOptions({ priceFormat: this.options(digits).priceFormat });
    }
  }

  mark(marks) {
    this.marks.push(...marks);
    const color = cssColor("--ink");
    this.arrows.setMarkers(this.marks.map(([time, side]) => side === "buy"
      ? { time, color, position: "belowBar", shape: "arrowUp" }
      : { time, color, position: "aboveBar", shape: "arrowDown" }));
  }

  // Part of a change: null draws none.
  setFan(fan) {
    const drawn = fan && fan.bands ? fan : null;
    this.fan = fan;
    this.drawn = drawn;
    const times = drawn ? [drawn.asof, ...drawn.times] : [];
    const edge = (nth) => (drawn ? [drawn.close, ...drawn.bands[nth]] : []);
    const between = (low, high) => times.map((time, nth) => ({ time, low: edge(low)[nth], high: edge(high)[nth] }));
    this.bands[0].series.setData(between(0, 4));
    this.bands[1].series.setData(between(1, 3));
    this.median.setData(times.map((time, nth) => ({ time, value: edge(2)[nth] })));
    const newest = this.bars.length ? this.bars[this.bars.length - 1][0] : -Infinity;
    this.times = this.bars.map((bar) => bar[0]).concat(times.filter((time) => time > newest));
    this.backdrop.shade = placeOf(this.times, this.started + 1);
    this.backdrop.mark = drawn ? placeOf(this.times, drawn.asof) : null;
  }

  // Another fan for the same bars, brought into view.
  showFan(fan) {
    this.keep(() => this.setFan(fan));
    const scale = this.api.timeScale();
    const range = scale.getVisibleLogicalRange();
    const from = placeOf(this.times, fan.asof);
    const to = from + (fan.times ? fan.times.length : 0);
    if (range && (from < range.from || to > range.to)) {
      const middle = (from + to) / 2;
      const half = (range.to - range.from) / 2;
      scale.setVisibleLogicalRange({ from: middle - half, to: middle + half });
    }
    this.legend();
  }

  get first() { return this.bars.length ? this.bars[0][0] : Infinity; }

  legend(time) {
    if (!this.bars.length) return;
    const at = time === undefined ? this.bars[this.bars.length - 1][0] : time;
    const bar = this.bars[placeOf(this.bars.map((each) => each[0]), at)];
    const chart = { digits: this.digits, suffix: "" };
    const isBar = bar && bar[0] === at;
    this.put("when", timeText(at, this.intraday));
    this.put("prices", isBar ? bar.slice(1).map((price) => numberText(price, chart)).join(" ") : "");
    const fan = this.drawn;
    const h = !fan ? -1 : time === undefined ? fan.times.length - 1 : fan.times.indexOf(at);
    const edges = (low, high) => (h < 0 ? "" : [low, high].map((nth) => numberText(fan.bands[nth][h], chart)).join(" to "));
    const ahead = time === undefined && h >= 0 ? ` at ${timeText(fan.times[h], this.intraday)}` : "";
    this.put("middle", h < 0 ? "" : numberText(fan.bands[2][h], chart) + ahead);
    this.put("inside", edges(1, 3));
    this.put("outside", edges(0, 4));
    const fills = this.marks.filter((mark) => mark[0] === at);
    this.put("filled", fills.map(([, side, text]) => `${side} ${text}`).join("; "));
  }

  recolor() {
    super.recolor();
    const [up, down] = [cssColor("--up"), cssColor("--down")];
    this.candles.applyOptions({ upColor: up, wickUpColor: up, borderUpColor: up, downColor: down, wickDownColor: down, borderDownColor: down });
    this.bands.forEach(({ style, series }) => series.applyOptions({ fill: cssColor("--c0", look(style).fill), color: cssColor("--c0") }));
    this.median.applyOptions({ color: cssColor("--c0") });
    this.mark([]);
  }
}
