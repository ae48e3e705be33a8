"""Gains, costs and holdings by symbol, from fills whose arithmetic is done here by hand."""

import re

import numpy as np
import pandas as pd
import pytest

from reports.folder import read_run
from reports.holdings import DUST, Position, results_by_symbol, weights_by_symbol
from reports.report import report_html
from reports.symbols import symbol_tables
from tests.reports.conftest import days, edit_csv, entry, write_run

CASH = 1_000.0


def fills(*rows):
    return pd.DataFrame(
        rows, columns=["bar", "symbol", "side", "size", "price", "commission", "slippage", "impact"]
    )


@pytest.fixture
def traded(tmp_path):
    """A run folder of one strategy with these fills, and these closes at the last bar."""

    def make(rows, closes, bars=4):
        times = days(bars)
        config = {"strategies": ["s.py"], "params": {}, "cash": CASH}
        folder = write_run(tmp_path / "run", [entry("s", "strategy")], times, config=config)
        frame = fills(*rows)
        sign = np.where(frame["side"] == "buy", 1, -1)
        size = (sign * frame["size"]).groupby(frame["symbol"]).sum()
        flow = -(sign * frame["size"] * frame["price"]) - frame["commission"]
        cash = CASH + flow.sum()
        value = cash + sum(size[symbol] * close for symbol, close in closes.items())
        moved = sign * (frame["slippage"] + frame["impact"]) / frame["size"]
        trades = frame.assign(
            time=times[frame["bar"]], strategy="s", reference_price=frame["price"] - moved
        ).drop(columns="bar")
        trades.to_csv(folder / "trades.csv", index=False)
        equity = pd.DataFrame(
            {"time": times, "strategy": "s", "cash": CASH, "value": CASH, "gross_value": CASH}
        )
        equity.loc[bars - 1, ["cash", "value", "gross_value"]] = [cash, value, value]
        equity.to_csv(folder / "equity.csv", index=False)
        weights = [
            (times[-1], "s", symbol, size[symbol] * close / value)
            for symbol, close in closes.items() if size[symbol]
        ]  # fmt: skip
        held = pd.DataFrame(weights, columns=["time", "strategy", "symbol", "weight"])
        held.to_csv(folder / "weights.csv", index=False)
        return folder

    return make


BOUGHT_AND_SOLD = [
    (0, "A", "buy", 10, 20.0, 1.0, 0.5, 0.25),
    (1, "A", "buy", 10, 30.0, 1.0, 0.5, 0.25),
    (2, "A", "sell", 5, 40.0, 1.0, 0.5, 0.25),
    (1, "B", "buy", 4, 50.0, 0.5, 0.0, 0.0),
    (3, "B", "sell", 4, 45.0, 0.5, 0.0, 0.0),
]


def test_average_costs_by_hand(traded):
    run = read_run(traded(BOUGHT_AND_SOLD, {"A": 36.0, "B": 45.0}))
    a, b = results_by_symbol(run, "s")
    # A: 20 shares for 200 + 1 + 300 + 1 = 502, 25.10 each; 5 sold for 200 - 1
    assert a.realised == pytest.approx(199 - 5 * 25.10)
    assert a.cost == pytest.approx(15 * 25.10)
    assert (a.size, a.value) == (15, pytest.approx(15 * 36))
    assert a.unrealised == pytest.approx(15 * (36 - 25.10))
    assert (a.commission, a.slippage, a.impact, a.costs) == (3, 1.5, 0.75, 5.25)
    assert (a.traded, a.fills) == (700, 3)
    # B: 200.50 paid, 179.50 received, nothing held
    assert b.realised == pytest.approx(179.5 - 200.5)
    assert (b.size, b.cost, b.value, b.unrealised, b.weight) == (0, 0, 0, 0, 0)
    assert a.gain + b.gain == pytest.approx(run.value["s"].iloc[-1] - CASH)


SHORTS = [
    (0, "A", "sell", 10, 20.0, 1.0, 0.0, 0.0),  # short, for 199
    (1, "A", "buy", 4, 15.0, 1.0, 0.0, 0.0),  # 4 of it closed, for 61
    (2, "A", "buy", 16, 25.0, 2.0, 0.0, 0.0),  # 6 closed, and 10 bought
    (3, "B", "sell", 2, 100.0, 0.0, 0.0, 0.0),
]


def test_short_positions_and_one_that_goes_through_nothing(traded):
    run = read_run(traded(SHORTS, {"A": 30.0, "B": 110.0}))
    a, b = results_by_symbol(run, "s")
    assert a.realised == pytest.approx((0.4 * 199 - 61) + (0.6 * 199 - (6 * 25 + 2 * 6 / 16)))
    assert a.cost == pytest.approx(10 * 25 + 2 * 10 / 16)
    assert a.unrealised == pytest.approx(10 * 30 - a.cost)
    assert (b.size, b.cost, b.realised) == (-2, -200, 0)
    assert (b.value, b.unrealised) == (pytest.approx(-220), pytest.approx(-20))
    assert b.weight < 0
    assert a.gain + b.gain == pytest.approx(run.value["s"].iloc[-1] - CASH)


@pytest.mark.parametrize("seed", range(10))
def test_gains_of_all_symbols_are_what_the_portfolio_gained(traded, seed):
    """Whatever is traded, in whatever direction."""
    generator = np.random.default_rng(seed)
    rows = [
        (nth // 10, generator.choice(list("ABC")), generator.choice(["buy", "sell"]),
         generator.integers(1, 9) / 3, generator.uniform(5, 50), generator.uniform(), 0.1, 0.1)
        for nth in range(200)
    ]  # fmt: skip
    closes = dict(zip("ABC", generator.uniform(5, 50, 3), strict=True))
    run = read_run(traded(rows, closes, bars=20))
    results = results_by_symbol(run, "s")
    gained = run.value["s"].iloc[-1] - CASH
    assert sum(result.gain for result in results) == pytest.approx(gained, abs=1e-8)
    for result in results:
        mine = [row for row in rows if row[1] == result.symbol]
        size = sum(row[3] * (1 if row[2] == "buy" else -1) for row in mine)
        assert result.size == pytest.approx(size, abs=1e-9)
        assert result.costs == pytest.approx(sum(sum(row[5:]) for row in mine))


def test_what_rounding_leaves_of_a_closed_position_is_nothing():
    position = Position()
    for _ in range(10):
        position.fill(0.1, 10.0, 0.0)
    assert position.size != 1.0
    position.fill(-1.0, 11.0, 0.0)
    assert (position.size, position.cost) == (0, 0)
    assert position.realised == pytest.approx(1.0, abs=DUST)


def test_the_tables_show_gains_losses_costs_and_holdings(traded):
    run = read_run(traded(BOUGHT_AND_SOLD, {"A": 36.0, "B": 45.0}))
    tables = symbol_tables(run, "s")
    assert [row.label for row in tables.gains.rows] == ["A"]
    assert [row.label for row in tables.losses.rows] == ["B"]
    assert [row.label for row in tables.costs.rows] == ["A", "B", "all"]
    assert [cell.text for cell in tables.costs.rows[-1].cells] == [
        "6",
        "4",
        "2",
        "1",
        "1,080",
        "57.9",
    ]
    assert [row.label for row in tables.holdings.rows] == ["A", "cash"]
    assert tables.sentence.startswith("1 of 2 symbols gained. ")
    [gain] = re.findall(r"together: \+(\d+),", tables.sentence)
    assert float(gain) == round(run.value["s"].iloc[-1] - CASH)


def test_a_page_of_short_positions_and_one_that_never_traded(traded):
    folder = traded(SHORTS, {"A": 30.0, "B": 110.0})
    run = read_run(folder)
    metrics = report_metrics(run)
    assert '<th scope="row">B</th><td>\N{MINUS SIGN}' in report_html(run, metrics)
    edit_csv(folder / "trades.csv", lambda trades: trades.iloc[:0])
    edit_csv(folder / "weights.csv", lambda weights: weights.iloc[:0])
    run = read_run(folder)
    assert symbol_tables(run, "s") is None
    page = report_html(run, report_metrics(run))
    assert "<p>It never traded.</p>" in page
    assert "Holdings of" not in page


def report_metrics(run):
    from reports.costs import all_costs
    from reports.metrics import all_figures
    from reports.verdicts import judged

    metrics = all_figures(run)
    metrics |= judged(run, metrics)
    return metrics | {"costs": all_costs(run, metrics)}


def test_weights_of_many_symbols_are_the_largest_and_the_rest(tmp_path):
    folder = write_run(tmp_path / "x", [entry("s", "strategy")], days(50), symbols=30)
    run = read_run(folder)
    table = weights_by_symbol(run, "s", 9)
    weights = pd.read_csv(folder / "weights.csv")
    assert table.shape == (50, 11)
    assert list(table.columns[9:]) == ["21 other symbols", "21 other symbols, short"]
    assert (table.iloc[:, 9] >= 0).all()
    assert (table.iloc[:, 10] <= 0).all()
    by_time = weights.groupby("time")["weight"].sum().to_numpy()
    assert table.sum(axis=1).to_numpy() == pytest.approx(by_time)
    sizes = weights.assign(weight=weights["weight"].abs()).groupby("symbol")["weight"].sum()
    assert list(table.columns[:9]) == list(sizes.sort_values(ascending=False).index[:9])


def test_one_symbol_more_than_there_are_colours_is_shown_by_name(tmp_path):
    run = read_run(write_run(tmp_path / "x", [entry("s", "strategy")], days(50), symbols=10))
    table = weights_by_symbol(run, "s", 9)
    assert sorted(table.columns) == [f"S{n:02d}" for n in range(10)]
    assert weights_by_symbol(read_run(tmp_path / "x"), "nobody", 9).empty
