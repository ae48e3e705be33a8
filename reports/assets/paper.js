// The dashboard of a paper account: takes what the server sends and puts it on the page. The
// messages are described in reports/paper_watch.py and reports/paper_view.py.
"use strict";

const MOST_ROWS = { fills: 50, log: 200 };
const MOST_POINTS = 20000; // of a chart, before the page asks for everything anew, thinned
const NEAR_EDGE = 10; // bars from the first one that there is, where earlier ones are asked for

class Dashboard {
  constructor(data) {
    this.data = data;
    this.intraday = data.length < 86400;
    this.account = new AccountChart(this.intraday);
    this.chart = new SymbolChart(this.intraday, data.started);
    this.rows = { fills: [], log: [] };
    this.tables = {}; // what each shows, as one text
    this.cursor = "";
    this.waiting = []; // messages, for the next frame
    this.followsLatest = true;
    this.chart.api.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < NEAR_EDGE) this.readEarlier();
    });
    this.picker = document.getElementById("picker");
    this.buildPicker();
    this.buildSteps();
    this.buildReach();
    const named = decodeURIComponent(location.hash.slice(1));
    this.pick(data.symbols.includes(named) ? named : data.symbols[0]);
    setInterval(() => this.tick(), 250);
    // a browser allows few open streams: a page that nobody sees needs none
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.close(); else this.open(); });
  }

  // ----- the stream

  open() {
    this.close();
    const query = new URLSearchParams({ symbol: this.symbol, after: this.cursor });
    const source = new EventSource(`/events?${query}`);
    this.source = source;
    source.onopen = () => this.tell("");
    source.onmessage = (event) => {
      this.cursor = event.lastEventId;
      this.waiting.push(JSON.parse(event.data));
      if (this.waiting.length === 1) requestAnimationFrame(() => this.work());
    };
    source.onerror = () => {
      this.tell(`The dashboard's process does not answer. What is shown is as of ${this.heard || "the start"}; it is tried again.`);
      if (source.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.askAgain(), 2000);
    };
  }

  // The stream was refused: perhaps another account is shown there by now.
  async askAgain() {
    const answer = await fetch("/").catch(() => null);
    if (answer && answer.ok) location.reload(); else this.open();
  }

  close() {
    clearTimeout(this.again);
    if (this.source) this.source.close();
    this.waiting = [];
    this.source = null;
  }

  work() {
    const messages = this.waiting;
    this.waiting = [];
    for (const message of messages) this.take(message);
  }

  take(message) {
    if (message.reload) { location.reload(); return; }
    this.heard = `${new Date().toISOString().slice(0, 19).replace("T", " ")} UTC`;
    if (message.whole) this.takeWhole(message); else this.takeMore(message);
    if (message.forecast) this.latest = message.forecast;
    this.takeRows(message);
    this.takeNow(message.now);
    this.tellForecast();
    if (Math.max(this.account.times.length, this.chart.times.length) > MOST_POINTS) {
      this.cursor = "";
      this.open();
    }
  }

  takeWhole(message) {
    this.account.whole(message.equity);
    this.rows = { fills: [], log: [] };
    this.latest = message.forecast || null;
    if (this.followsLatest) this.shown = this.latest;
    this.chart.whole(message.candles || [], message.marks || [], this.shown);
  }

  takeMore(message) {
    this.account.add(message.equity || []);
    if (this.followsLatest && message.forecast) this.shown = message.forecast;
    const fan = this.followsLatest ? message.forecast : undefined;
    this.chart.add(message.candles || [], message.marks || [], fan);
    const unfinished = this.shown && this.shown.times && this.shown.came < this.shown.times.length;
    if (!this.followsLatest && message.candles && unfinished) this.step(0);
  }

  takeRows(message) {
    for (const name of ["fills", "log"]) {
      const fresh = message[name] || [];
      if (!fresh.length && !message.whole) continue;
      this.rows[name] = fresh.slice().reverse().concat(this.rows[name]).slice(0, MOST_ROWS[name]);
      this.fillTable(name, this.rows[name], name === "fills" ? 1 : 3);
    }
  }

  // ----- how things are now

  takeNow(now) {
    this.now = now;
    const state = document.getElementById("state");
    state.className = `state ${now.state.level === "warn" ? "warn-level" : now.state.level}`;
    state.querySelector("b").textContent = now.state.text;
    const late = now.late.length > 5 ? `${now.late.slice(0, 5).join(", ")} and ${now.late.length - 5} more` : now.late.join(", ");
    state.querySelector(".late").textContent = late ? `Late: ${late}` : "";
    const list = document.getElementById("figures");
    list.replaceChildren(...now.figures.map(([name, value]) => {
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      return pair;
    }));
    this.fillTable("positions", now.positions, 0);
    this.fillTable("orders", now.orders, 1);
    this.fillCoverage(now);
    this.nameHeld(new Set(now.held));
    this.tell(now.problem);
    this.tick();
  }

  fillCoverage(now) {
    const rows = now.coverage.map((row, nth) => [...row, ...(now.own_coverage[nth] || row).slice(1)]);
    this.fillTable("coverage", rows, -1);
    document.querySelectorAll("#coverage tbody tr").forEach((row) => { for (const nth of [1, 4]) row.cells[nth].className = "edge"; });
    document.getElementById("own").textContent = this.symbol;
    document.getElementById("counting").textContent = now.counting ? "Still counting older forecasts." : "";
  }

  // Rows of texts; a symbol's name, in the column at `symbols`, picks it.
  fillTable(id, rows, symbols) {
    const text = JSON.stringify(rows);
    if (this.tables[id] === text) return; // so that a button under the pointer stays the same one
    this.tables[id] = text;
    const box = document.getElementById(id);
    box.classList.toggle("is-empty", !rows.length);
    const body = element("tbody");
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((text, nth) => {
        const cell = line.insertCell();
        if (nth !== symbols || !text) { cell.textContent = text; return; }
        const button = cell.appendChild(element("button", "", text));
        button.type = "button";
        button.addEventListener("click", () => this.pick(text));
      });
    }
    box.querySelector("tbody").replaceWith(body);
  }

  tick() {
    const clock = this.now && this.now.clock;
    const place = document.querySelector("#state .countdown");
    place.textContent = clock ? this.countdown(clock) : "";
  }

  countdown(clock) {
    const next = timeText(clock.next, true);
    if (clock.speed === null) return `Next close ${next}; the replay goes as fast as it can.`;
    const left = (clock.next - clock.clock) / clock.speed - (Date.now() / 1000 - clock.wall);
    const speed = clock.speed === 1 ? "" : ` Time runs ${clock.speed.toLocaleString("en-US")} times as fast.`;
    if (left < 0) return `The close of ${next} has been due for ${spanText(-left)}.${speed}`;
    return `Next close ${next}, in ${spanText(left)}.${speed}`;
  }

  // What is wrong with the page itself, above all else.
  tell(problem) {
    const box = document.getElementById("problem");
    box.hidden = !problem;
    box.querySelector("p").textContent = problem;
    document.getElementById("state").classList.toggle("stale", Boolean(problem));
  }

  // ----- the chosen symbol

  buildPicker() {
    for (const name of this.data.symbols) {
      const option = element("option", "", name);
      option.value = name;
      this.picker.append(option);
    }
    this.picker.addEventListener("change", () => this.pick(this.picker.value));
  }

  nameHeld(held) {
    for (const option of this.picker.options) {
      const text = held.has(option.value) ? `${option.value} (held)` : option.value;
      if (option.textContent !== text) option.textContent = text;
    }
  }

  pick(symbol) {
    if (symbol === this.symbol) return;
    this.symbol = symbol;
    this.picker.value = symbol;
    history.replaceState(null, "", `#${encodeURIComponent(symbol)}`);
    this.followsLatest = true;
    this.shown = null;
    this.hasAll = false;
    this.chart.clear();
    this.cursor = "";
    this.open();
  }

  // Candles before the first one that the page has, if there are any.
  async readEarlier() {
    const [symbol, before] = [this.symbol, this.chart.first];
    if (this.reading || !Number.isFinite(before) || this.hasAll) return;
    this.reading = true;
    const found = await this.ask("candles", { symbol, before });
    this.reading = false;
    if (!found || symbol !== this.symbol || before !== this.chart.first) return;
    this.hasAll = !found.candles.length;
    if (!this.hasAll) this.chart.prepend(found.candles, found.marks);
    this.tellForecast();
  }

  // What the server answers, null where it does not.
  async ask(path, query) {
    const answer = await fetch(`/${path}?${new URLSearchParams(query)}`).catch(() => null);
    return answer && answer.ok ? answer.json() : null;
  }

  // ----- earlier forecasts

  buildSteps() {
    const bar = document.querySelector(".steps");
    this.buttons = Object.fromEntries(["earlier", "later", "latest"].map((name) => [name, bar.querySelector(`.${name}`)]));
    this.buttons.earlier.addEventListener("click", () => this.step(-1));
    this.buttons.later.addEventListener("click", () => this.step(1));
    this.buttons.latest.addEventListener("click", () => {
      this.followsLatest = true;
      this.shown = this.latest;
      this.chart.showFan(this.latest);
      this.tellForecast();
    });
  }

  async step(step) {
    if (!this.shown) return;
    const symbol = this.symbol;
    const found = await this.ask("forecast", { symbol, asof: this.shown.asof, step });
    if (!found || symbol !== this.symbol) return;
    if (found.asof < this.chart.first) await this.readEarlier();
    this.shown = found;
    this.followsLatest = !found.later;
    if (step) this.chart.showFan(found); else this.chart.add([], [], found);
    this.tellForecast();
  }

  tellForecast() {
    const fan = this.shown;
    const told = document.querySelector(".steps .told");
    const latest = this.latest && fan && this.latest.asof > fan.asof;
    this.buttons.earlier.disabled = !fan || !fan.earlier;
    this.buttons.later.disabled = !latest;
    this.buttons.latest.disabled = !latest;
    told.textContent = fan ? fanText(fan) : "No forecast yet.";
  }

  buildReach() {
    const bar = document.querySelector(".reach");
    const add = (text, bars) => {
      const button = bar.appendChild(element("button", "", text));
      button.type = "button";
      button.addEventListener("click", () => this.chart.reach(bars));
    };
    add("All", Infinity);
    for (const bars of [500, 160, 50]) add(`${bars} bars`, bars);
    bar.append(element("span", "", "Drag to move; Ctrl and the wheel, or two fingers, to zoom."));
  }
}

function fanText(fan) {
  const begin = `Forecast as of ${fan.asof_text}`;
  if (!fan.bands) return `No forecast as of ${fan.asof_text}: ${fan.missing}`;
  if (!fan.came) return `${begin}: none of its ${fan.times.length} bars has come.`;
  return `${begin}: ${fan.came} of ${fan.times.length} bars have come, ${fan.inner} closes in the 50 % band and ${fan.outer} in the 90 % band.`;
}

function spanText(seconds) {
  const whole = Math.floor(seconds);
  const pad = (number) => String(number).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  const clock = days || hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

const dashboard = new Dashboard(JSON.parse(document.getElementById("paper-data").textContent));
