"""Coverage of forecasts, counted as they come, beside the definition that skill pages use."""

import numpy as np
import pytest

from reports.paper_account import Account
from reports.paper_coverage import Coverage, inside, quantiles, shown_horizons
from reports.paper_equity import MOST_POINTS, EquityCurve
from sandbox.skill.scores import covered
from tests.reports.paper_accounts import HORIZON, STARTED_NS, SYMBOLS, AccountFile, written

MINUTE_NS = 60 * 10**9


def reference(account, symbol):
    """[closes that came, share inside the 90 % band] a horizon, from the tables alone."""
    closes = account.next_closes(symbol, 0, 10**6)
    times = [time_ns for time_ns, _ in closes]
    found = []
    for h in range(1, HORIZON + 1):
        samples, outcomes = [], []
        for nth, (time_ns, close) in enumerate(closes[: len(closes) - h]):
            forecast = account.forecast(symbol, time_ns, 0)
            if forecast and forecast.closes is not None:
                samples.append(forecast.closes[:, h - 1] / close - 1)
                outcomes.append(closes[nth + h][1] / close - 1)
        assert times == sorted(times)
        found.append((len(samples), covered(np.array(samples), np.array(outcomes))))
    return found


def test_coverage_is_that_of_skill_with_quiet_bars_and_missing_forecasts(tmp_path):
    file = AccountFile(tmp_path / "a.sqlite")
    for number in range(60):
        quiet = ["ETH/USDT"] if number % 5 == 0 else []
        file.bar(quiet=quiet, missing=["SOL/USDT"] if number % 9 == 0 else [])
    account = Account(file.path)
    coverage = Coverage(SYMBOLS)
    coverage.take(account, file.time_ns, 60)
    assert coverage.is_complete
    for symbol in SYMBOLS:
        counts = coverage.of(symbol)
        assert len(counts) == HORIZON
        for counted, (came, share) in zip(counts, reference(account, symbol), strict=True):
            assert counted.came == came
            assert counted.outer / came == pytest.approx(share, abs=1e-12)
            assert counted.inner <= counted.outer
    sums = [sum(coverage.of(s)[h].outer for s in SYMBOLS) for h in range(HORIZON)]
    assert [counts.outer for counts in coverage.of_all()] == sums
    account.close()
    file.close()


def test_counting_bit_by_bit_counts_the_same(tmp_path):
    file = written(tmp_path / "a.sqlite", 5)
    account = Account(file.path)
    slow = Coverage(SYMBOLS)
    for _ in range(30):
        file.bar()
        slow.take(account, file.time_ns, 60)
    hasty = Coverage(SYMBOLS)
    rounds = 0
    while not hasty.is_complete:
        hasty.take(account, file.time_ns, 0.0)  # stops when it first looks at the clock
        rounds += 1
        if rounds > 3:
            hasty.take(account, file.time_ns, 60)
    assert [slow.of(s) for s in SYMBOLS] == [hasty.of(s) for s in SYMBOLS]
    account.close()
    file.close()


def test_closes_of_one_fan_are_counted_by_its_bands():
    samples = np.arange(1.0, 20.0)[:, None] * np.ones((1, 3))  # 1 to 19 at each of three bars
    bands = quantiles(samples).tolist()
    assert [band[0] for band in bands] == [1, 5, 10, 15, 19]
    assert inside(bands, [5.0, 15.5]) == (2, 1, 2)
    assert inside(bands, [19.5]) == (1, 0, 0)
    assert inside(bands, []) == (0, 0, 0)


def test_a_table_shows_all_horizons_or_a_dozen():
    assert shown_horizons(0) == []
    assert shown_horizons(5) == [1, 2, 3, 4, 5]
    many = shown_horizons(240)
    assert len(many) <= 12 and many[0] == 1 and many[-1] == 240


def test_a_long_curve_is_thinned_and_keeps_its_end_and_its_depths():
    generator = np.random.default_rng(1)
    values = 1000 * np.exp(np.cumsum(generator.normal(0, 0.01, 50_000)))
    rows = [(STARTED_NS + n * MINUTE_NS, 1.0, float(value)) for n, value in enumerate(values)]
    curve = EquityCurve(1000.0)
    curve.extend(rows[:2000])
    assert len(curve.thinned()) == 2000
    curve.extend(rows[2000:])
    thinned = curve.thinned()
    assert MOST_POINTS / 2 < len(thinned) <= MOST_POINTS
    times = [row[0] for row in thinned]
    assert times == sorted(set(times)) and times[-1] == rows[-1][0] // 10**9
    assert thinned[-1][1] == pytest.approx(values[-1], abs=1e-3)
    peaks = np.maximum.accumulate(np.maximum(values, 1000))
    assert min(row[2] for row in thinned) == pytest.approx(
        100 * (values / peaks - 1).min(), abs=1e-3
    )
    assert curve.worst_pct == pytest.approx(100 * (values / peaks - 1).min())
    assert curve.after(rows[-3][0]) == [
        row for row in curve.after(rows[-9][0]) if row[0] > rows[-3][0] // 10**9
    ]
    assert len(curve.after(rows[-3][0])) == 2
    assert curve.after(rows[100][0]) is None  # more than is sent a second time


def test_a_curve_without_a_bar_is_worth_its_cash():
    curve = EquityCurve(500.0)
    assert (curve.thinned(), curve.after(0), curve.value, curve.drawdown_pct) == ([], [], 500.0, 0)
