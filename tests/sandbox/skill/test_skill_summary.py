"""Figures of whole tables of scores: one who knows the truth wins, and nobody beats himself."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from feeds import bar_times
from sandbox.config import Sampling
from sandbox.progress import no_bar
from sandbox.skill.baselines import BASELINES, PRICES
from sandbox.skill.cells import FACTORS, Cells, factors, regimes
from sandbox.skill.sources import BaselineSource, Batch
from sandbox.skill.summary import REGIMES, splits, summarise
from sandbox.skill.table import FILE, SCHEMA, noise_of, read_source, scored, scores_file
from sandbox.skill.verdict import verdict
from tests.conftest import make_frame, make_market

SAMPLING = Sampling(lookback=25, horizon=3, samples=24)
NAMES = [f"S{n:02d}" for n in range(12)]


@dataclass
class Oracle:
    """Knows what will come but for a little noise."""

    frames: dict
    name: str = "oracle"
    kind: str = "model"
    samples: int = 24

    def returns(self, batch):
        drawn = []
        for symbol, asof in zip(batch.windows.symbols, batch.windows.asof_ns, strict=True):
            frame = self.frames[symbol]
            row = int(frame.index.as_unit("ns").asi8.searchsorted(asof))
            prices = frame.to_numpy()[row : row + 4, :PRICES]
            came = np.full((3, PRICES), prices[-1, 3])
            came[: len(prices) - 1] = prices[1:]
            noise = np.random.default_rng([row, int(symbol[1:])]).normal(0, 0.008, (24, 3, PRICES))
            drawn.append(came / prices[0, 3] - 1 + noise)
        return np.stack(drawn)


@dataclass
class Twin:
    """The random walk, called a model."""

    name: str = "twin"
    kind: str = "model"
    samples: int = 24

    def returns(self, batch):
        return BaselineSource(name="random-walk", samples=24).returns(batch)


def cells_of(frames, every=3, sampling=SAMPLING):
    asofs = bar_times(frames)[::every]
    return Cells.of(frames, sampling, asofs[asofs >= bar_times(frames)[sampling.lookback]], None)


def summary_of(frames, models, folder, every=3, seen_until=None, sampling=SAMPLING):
    """The record, and the kinds of its sources."""
    cells = cells_of(frames, every, sampling)
    sources = [*models, *(BaselineSource(name=n, samples=sampling.samples) for n in BASELINES)]
    with scores_file(folder / FILE, cells) as file:
        for rows in cells.batches(sampling.samples, 0, len(cells)):
            batch = Batch.of(cells.windows.pick(rows), sampling)
            came, noise = cells.outcomes(rows), noise_of(cells, rows, 0, len(cells.horizons))
            for source in sources:
                returns = source.returns(batch)
                for h, known, columns in scored(returns, came, cells.horizons, noise, whole=True):
                    file.add(source.name, rows[known], h, columns)
    told = factors(cells, frames)
    kinds = {source.name: source.kind for source in sources}
    parts = splits(cells.dates_ns, seen_until, regimes(cells, told[:, 1]))
    with no_bar("", "") as progress:
        return summarise(folder / FILE, kinds, cells, told, parts, every, progress), kinds


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.skill.evidence.MCS_RESAMPLES", 40)
        yield


@pytest.fixture(scope="module")
def market():
    return make_market(NAMES, 150)


@pytest.fixture(scope="module")
def found(market, tmp_path_factory):
    return summary_of(market, [Oracle(market), Twin()], tmp_path_factory.mktemp("scores"))


def test_who_knows_the_truth_wins(found):
    record, kinds = found
    span = record["spans"]["whole"]
    for other in BASELINES:
        for h in ("1", "2", "3"):
            against = span["against"]["oracle"][other][h]
            for loss in ("crps", "energy", "volatility"):
                assert against[loss]["skill_pct"] > 30
                assert against[loss]["t"] > 4 and against[loss]["p"] < 0.001
    figures = span["figures"]["oracle"]["3"]
    assert figures["rank_ic"]["mean"] > 0.9 and figures["own_rank_ic"]["mean"] > 0.9
    assert figures["rank_ic"]["dates_needed"] < figures["rank_ic"]["dates"]
    assert figures["volatility"]["r2"] > 0.8
    assert figures["brier"] < 0.1
    sentence = verdict(record, kinds, "oracle", 24)
    assert "are surely better than" in sentence
    assert "it surely knows something of which symbols" in sentence


def test_nobody_beats_himself(found):
    record, kinds = found
    for h in ("1", "2", "3"):
        against = record["spans"]["whole"]["against"]["twin"]["random-walk"][h]
        for loss in ("crps", "energy", "volatility"):
            assert against[loss] | {"dates": 0} == {
                "skill_pct": 0.0, "lead": 0.0, "t": None, "p": None, "dates": 0,
                "dates_needed": None,
            }  # fmt: skip
        assert against["rank_ic"]["mean"] == 0 and against["rank_ic"]["t"] is None
    assert "neither better nor worse than" in verdict(record, kinds, "twin", 24)


def test_who_ranks_no_better_than_a_naive_signal_is_told_so(found):
    record, kinds = copy.deepcopy(found)
    kinds["random-walk"] = "signal"
    span = record["spans"]["whole"]
    for name in ("twin", "random-walk"):
        span["figures"][name]["3"]["rank_ic"] |= {"mean": 0.065, "t": 5.0}
    sentence = verdict(record, kinds, "twin", 24)
    assert "but is not shown to know more than random-walk does (+0.065)" in sentence


def test_the_random_walk_is_right_on_random_walks(found):
    """Its PIT is about level, its bands hold, its odds are worth nothing."""
    figures = found[0]["spans"]["whole"]["figures"]["random-walk"]["1"]
    assert max(figures["pit"]) < 0.1 and sum(figures["pit"]) == pytest.approx(1)
    assert figures["inside"]["80"] == pytest.approx(0.8, abs=0.05)
    assert figures["brier"] == pytest.approx(0.25, abs=0.03)
    assert abs(figures["rank_ic"]["t"]) < 3
    assert sum(step["forecasts"] for step in figures["reliability"]) == figures["forecasts"]


def test_only_what_has_come_is_scored(found, market):
    counts = {h: found[0]["spans"]["whole"]["figures"]["twin"][h]["forecasts"] for h in "123"}
    cells = cells_of(market)
    assert counts == {str(h): int((cells.bars_after >= h).sum()) for h in (1, 2, 3)}
    assert counts["3"] < counts["1"] == len(cells)


def test_the_table_has_a_row_a_cell_horizon_and_source(market, tmp_path):
    summary_of(market, [Twin()], tmp_path)
    import pyarrow.parquet as pq

    assert pq.read_schema(tmp_path / FILE).equals(SCHEMA)
    rows = read_source(tmp_path / FILE, "twin")
    assert not rows.duplicated(["symbol", "asof", "horizon"]).any()
    one = rows[(rows["symbol"] == "S03") & (rows["horizon"] == 2)].iloc[4]
    frame = market["S03"]
    at = frame.index.get_loc(one["asof"])
    assert one["outcome"] == pytest.approx(
        frame["close"].iloc[at + 2] / frame["close"].iloc[at] - 1, rel=1e-5
    )
    steps = np.diff(np.log(frame["close"].iloc[at : at + 3]))
    assert one["realised"] == pytest.approx((steps**2).sum(), rel=1e-5)


def test_dates_are_split_where_the_model_s_data_end(market, tmp_path):
    border = bar_times(market)[90].normalize()
    record, _ = summary_of(market, [Twin()], tmp_path, every=2, seen_until=border)
    spans = record["spans"]
    assert spans["seen"]["last"] <= f"{border:%Y-%m-%d}" < spans["unseen"]["first"]
    assert spans["seen"]["dates"] + spans["unseen"]["dates"] == spans["whole"]["dates"]
    assert record["judged"] == "unseen"
    crps = {n: spans[n]["figures"]["twin"]["1"]["crps"] for n in ("seen", "unseen", "whole")}
    weighed = sum(crps[n] * spans[n]["dates"] for n in ("seen", "unseen"))
    assert crps["whole"] == pytest.approx(weighed / spans["whole"]["dates"])
    parts = [*record["years"].values(), *record["regimes"].values()]
    assert (
        sum(p["twin"]["dates"] for p in parts)
        == 2 * spans["whole"]["figures"]["twin"]["3"]["dates"]
    )


def test_few_unseen_dates_are_not_judged_alone(market, tmp_path):
    border = bar_times(market)[130].normalize()
    record, kinds = summary_of(market, [Twin()], tmp_path, seen_until=border)
    assert record["spans"]["unseen"]["dates"] < 20
    assert record["judged"] == "whole"
    assert "it had not seen" not in verdict(record, kinds, "twin", 24)


def test_few_dates_claim_nothing(market, tmp_path):
    record, kinds = summary_of(market, [Oracle(market)], tmp_path, every=10)
    span = record["spans"]["whole"]
    assert span["dates"] < 20
    assert span["against"]["oracle"]["random-walk"]["3"]["crps"]["skill_pct"] > 30
    assert span["against"]["oracle"]["random-walk"]["3"]["crps"]["t"] is None
    assert span["figures"]["oracle"]["3"]["rank_ic"]["t"] is None
    assert span["confidence_set"]["3"] is None
    assert verdict(record, kinds, "oracle", 24) == (
        "oracle: nothing is claimed, as there are 12 dates and 20 are needed to tell skill from "
        "luck."
    )


def test_one_symbol_has_no_ranks(market, tmp_path):
    record, kinds = summary_of({"S00": market["S00"]}, [Twin()], tmp_path)
    figures = record["spans"]["whole"]["figures"]["twin"]["3"]
    for name in ("ic", "rank_ic", "spread", "own_ic", "own_rank_ic"):
        assert figures[name]["mean"] is None and figures[name]["dates"] == 0
    assert figures["crps"] is not None
    assert "cannot be told from so few symbols" in verdict(record, kinds, "twin", 24)


def test_a_constant_series_has_no_skill_and_no_ranks(tmp_path):
    frames = {name: make_frame([(5.0,) * 4] * 120, "2023-01-02") for name in NAMES}
    record, kinds = summary_of(frames, [Twin()], tmp_path)
    span = record["spans"]["whole"]
    assert span["figures"]["twin"]["3"]["crps"] == 0
    against = span["against"]["twin"]["random-walk-no-drift"]["3"]["crps"]
    assert (against["skill_pct"], against["t"]) == (None, None)
    figures = span["figures"]["twin"]["3"]
    assert figures["rank_ic"]["mean"] is None
    assert figures["volatility"]["r2"] is None and figures["volatility"]["qlike"] is None
    assert figures["inside"]["90"] == 1.0
    assert "CRPS of 0 on both sides" in verdict(record, kinds, "twin", 24)


def test_factors_are_those_of_the_past(market):
    cells = cells_of(market)
    told = factors(cells, market)
    place = len(cells) - 5
    symbol, asof = cells.windows.symbols[place], cells.windows.asof_ns[place]
    asof = pd.Timestamp(asof, tz="UTC")
    own = market[symbol]["close"].loc[:asof]
    returns = pd.DataFrame({n: f["close"].pct_change() for n, f in market.items()}).loc[:asof]
    mean = returns.mean(axis=1)
    last = returns[symbol].iloc[-60:], mean.iloc[-60:]
    expected = {
        "beta": np.cov(*last)[0, 1] / last[1].var(),
        "volatility": returns[symbol].iloc[-20:].std(),
        "reversal": own.iloc[-1] / own.iloc[-22] - 1,
    }
    assert told[place] == pytest.approx([expected[name] for name in FACTORS])

    altered = {n: f.copy() for n, f in market.items()}
    for frame in altered.values():
        frame.loc[frame.index > asof, ["open", "high", "low", "close"]] *= 2
    again = factors(cells, altered)
    before = cells.windows.asof_ns <= asof.value
    assert np.array_equal(told[before], again[before], equal_nan=True)


def test_regimes_are_thirds_of_the_dates(market):
    cells = cells_of(market, every=1)
    found = regimes(cells, factors(cells, market)[:, 1])
    counts = [(found == nth).sum() for nth in range(len(REGIMES))]
    assert sum(counts) == len(cells.dates_ns)
    assert max(counts) - min(counts) <= 2


def test_horizons_thin_out():
    frames = make_market(["A"], 100)
    far = Sampling(lookback=25, horizon=60, samples=2)
    assert cells_of(frames, sampling=far).horizons == [1, 2, 3, 4, 5, 10, 20, 50, 60]
    near = Sampling(lookback=90, horizon=60, samples=2)
    assert cells_of(frames, every=1, sampling=near).horizons == [1, 2, 3, 4, 5, 9]


def test_a_symbol_is_scored_while_it_is_a_member(market):
    times = bar_times(market)
    first, last = times[60].value, times[80].value
    found = Cells.of(market, SAMPLING, times, None, {"S01": ((first, last),)})
    own = found.windows.asof_ns[found.symbol_of == found.symbols.index("S01")]
    assert (own.min(), own.max(), len(own)) == (first, last, 21)
