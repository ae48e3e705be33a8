// Sorts, filters and pages the table of fills. Its data: the JSON block that reports/fills.py writes,
// one list a column; `time`, `portfolio` and `symbol` hold indices into the lists of their names.
"use strict";

const ROWS_A_PAGE = 100;

function drawFills(data) {
  const count = data.time.length;
  const all = Array.from({ length: count }, (_, row) => row);
  const traded = all.map((row) => data.size[row] * data.price[row]);
  const costs = all.map((row) => data.commission[row] + data.slippage[row] + data.impact[row]);
  const read = { // how each column is read, for sorting
    time: (row) => data.times[data.time[row]],
    portfolio: (row) => data.portfolio[row],
    symbol: (row) => data.symbols[data.symbol[row]],
    side: (row) => data.sell[row],
    size: (row) => data.size[row],
    price: (row) => data.price[row],
    reference: (row) => data.reference[row],
    traded: (row) => traded[row],
    commission: (row) => data.commission[row],
    slippage: (row) => data.slippage[row],
    impact: (row) => data.impact[row],
    costs: (row) => costs[row],
  };
  const form = document.querySelector(".filters");
  const table = document.querySelector(".fills table");
  const heads = [...table.querySelectorAll("thead th")];
  const names = heads.map((head) => head.dataset.column);
  const state = { column: "time", descending: true, page: 0, rows: [] };

  const texts = { // how each column is shown
    ...Object.fromEntries(names.map((name) => [name, (row) => number(read[name](row), 6)])),
    time: (row) => timeText(read.time(row)),
    portfolio: (row) => data.portfolios[data.portfolio[row]],
    symbol: read.symbol,
    side: (row) => (data.sell[row] ? "sell" : "buy"),
    size: (row) => number(data.size[row], 7),
    traded: (row) => fixed(traded[row]),
    commission: (row) => fixed(data.commission[row]),
    slippage: (row) => fixed(data.slippage[row]),
    impact: (row) => fixed(data.impact[row]),
    costs: (row) => fixed(costs[row]),
  };

  function number(value, digits) {
    return minus(value.toLocaleString("en-US", { maximumSignificantDigits: digits }));
  }

  function fixed(value) {
    return minus(value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
  }

  function minus(text) {
    return text.replace("-", "\u2212");
  }

  function timeText(seconds) {
    const text = new Date(1000 * seconds).toISOString();
    return `${text.slice(0, 10)} ${text.slice(11, 16)}`;
  }

  // Whether a row passes the form's filters.
  function filter() {
    const { portfolio, symbol, side, from, to } = form.elements;
    const wanted = symbol.value.trim().toLowerCase();
    const exact = data.symbols.some((name) => name.toLowerCase() === wanted);
    const symbols = new Set(data.symbols.flatMap((name, nth) => {
      const lower = name.toLowerCase();
      return (exact ? lower === wanted : lower.includes(wanted)) ? [nth] : [];
    }));
    const first = from.value ? Date.parse(`${from.value}T00:00Z`) / 1000 : -Infinity;
    const last = to.value ? Date.parse(`${to.value}T00:00Z`) / 1000 + 86400 : Infinity;
    return (row) =>
      (portfolio.value === "" || data.portfolio[row] === Number(portfolio.value)) &&
      (side.value === "" || data.sell[row] === Number(side.value)) &&
      symbols.has(data.symbol[row]) && read.time(row) >= first && read.time(row) < last;
  }

  // Numbers as numbers, texts as texts; what is equal stays in the order of trades.csv.
  function sort() {
    const key = read[state.column];
    const sign = state.descending ? -1 : 1;
    const compare = state.column === "symbol"
      ? (a, b) => key(a).localeCompare(key(b), "en", { numeric: true })
      : (a, b) => key(a) - key(b);
    state.rows.sort((a, b) => sign * compare(a, b) || a - b);
  }

  function update() {
    state.rows = all.filter(filter());
    sort();
    state.page = 0;
    show();
  }

  function show() {
    const { rows, page } = state;
    const pages = Math.max(1, Math.ceil(rows.length / ROWS_A_PAGE));
    const body = document.createElement("tbody");
    for (const row of rows.slice(page * ROWS_A_PAGE, (page + 1) * ROWS_A_PAGE)) {
      const line = body.insertRow();
      for (const name of names) {
        const cell = line.insertCell();
        cell.textContent = texts[name](row);
        if (["time", "portfolio", "symbol", "side"].includes(name)) cell.className = "text";
      }
    }
    table.tBodies[0].replaceWith(body);
    const sum = (column) => rows.reduce((total, row) => total + column[row], 0);
    document.querySelector(".pages output").textContent =
      `${rows.length.toLocaleString("en-US")} of ${count.toLocaleString("en-US")} fills, traded ${fixed(sum(traded))}, costs ${fixed(sum(costs))}; page ${page + 1} of ${pages}`;
    heads.forEach((head) => {
      const order = state.descending ? "descending" : "ascending";
      if (head.dataset.column === state.column) head.setAttribute("aria-sort", order);
      else head.removeAttribute("aria-sort");
    });
  }

  function turn(pages) {
    const last = Math.max(0, Math.ceil(state.rows.length / ROWS_A_PAGE) - 1);
    state.page = Math.min(last, Math.max(0, state.page + pages));
    show();
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const same = state.column === head.dataset.column;
      state.descending = same ? !state.descending : !["portfolio", "symbol", "side"].includes(head.dataset.column);
      state.column = head.dataset.column;
      sort();
      state.page = 0;
      show();
    });
    head.replaceChildren(button);
  }
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".pages").hidden = false;
  document.querySelector(".pages .earlier").addEventListener("click", () => turn(-1));
  document.querySelector(".pages .later").addEventListener("click", () => turn(1));
  update();
}

drawFills(JSON.parse(document.getElementById("fills-data").textContent));
