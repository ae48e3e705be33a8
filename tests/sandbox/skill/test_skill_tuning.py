"""Settings are chosen by what was known on a day, and judged by what came later."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sandbox.skill import job
from sandbox.skill.__main__ import main
from sandbox.skill.table import FILE, read_source
from tests.conftest import FakePredictor, make_checkpoint, make_frame

BARS, DAYS = 260, "2023-01-02"
UNTIL = "2023-08-31"
MARKET = ["--data", "csv:candles/*.csv", "--start", "2023-02-01", "--end", "2024-12-31"]
OPTIONS = [*MARKET, "--lookback", "20", "--horizon", "3", "--samples", "12", "--every", "2",
           "--signal", "none"]  # fmt: skip
GRID = ["--tune", "temperature=0.4,1,2.5", "lookback=15,20"]
TUNE = [*OPTIONS, *GRID, "--tune-until", UNTIL]


class Spread(FakePredictor):
    """Knows how far these prices move, if it is asked at a temperature of 1."""

    def sample_paths(self, x, x_stamp, y_stamp, keys, *, T, sample_count, seed, progress, **_):  # noqa: N803
        self.asked.append(len(x))
        bars = y_stamp.shape[1]
        scale = 0.02 * np.broadcast_to(np.linspace(*T, bars) if isinstance(T, tuple) else T, bars)
        paths = np.empty((len(x), sample_count, bars, 6), dtype=np.float32)
        for nth, key in enumerate(keys):
            drawn = np.random.default_rng([key, seed]).normal(0, 1, (sample_count, bars)) * scale
            paths[nth] = (x[nth, -1, 3] * np.exp(np.cumsum(drawn, axis=1)))[..., None]
        if progress:
            progress(len(x))
        return paths


def write_market(folder, change=lambda frame: frame, bars=BARS):
    """Six random walks that move by 2 % a day."""
    folder.mkdir(exist_ok=True)
    for nth in range(6):
        generator = np.random.default_rng(nth)
        close = 50 * np.exp(np.cumsum(generator.normal(0, 0.02, BARS)))
        frame = make_frame(np.repeat(close[:, None], 4, axis=1), DAYS).iloc[:bars]
        frame = change(frame).rename_axis("timestamp").reset_index()
        frame.to_csv(folder / f"S{nth}.csv", index=False)


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch, fake_model):
    """In a folder with candles; without GARCH, confidence sets and the page."""
    monkeypatch.chdir(tmp_path)
    write_market(tmp_path / "candles")
    monkeypatch.setattr("sandbox.skill.garch.is_installed", lambda: False)
    for place in ("sandbox.skill.job", "sandbox.skill.evidence"):
        monkeypatch.setattr(f"{place}.has_confidence_sets", lambda: False)
    page = SimpleNamespace(finish=lambda what: None)
    monkeypatch.setattr(job, "report_process", lambda *_: contextlib.nullcontext(page))
    model = Spread()
    fake_model.predictor, fake_model.asked = (lambda **_: model), model.asked
    return fake_model


def record_of(*options, folder="out"):
    assert main([*options, "--out", folder]) == 0
    return json.loads((Path(folder) / "skill.json").read_text(encoding="utf-8"))


def known_on_the_day(record):
    """What the choice is made of, and the choice."""
    tuning = record["tuning"]
    found = {name: tuning[name] for name in ("until", "settings", "horizons")}
    found["period"] = tuning["periods"]["before"]
    for name, own in tuning["models"].items():
        found[name] = [own["chosen"], own["source"], own["plain"]["before"]]
        found[name] += [(each["values"], each["before"]) for each in own["combinations"]]
    return found


def error_of(capsys, *options):
    assert main([*options]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_settings_that_know_the_market_are_chosen(capsys):
    record = record_of(*OPTIONS, "--temperature", "2.5", *GRID, "--tune-until", UNTIL)
    tuning = record["tuning"]
    own = tuning["models"]["bundled"]
    best = own["combinations"][own["chosen"]]
    assert best["values"] == {"temperature": "1", "lookback": "15"}  # of equals the first
    assert own["source"] == "bundled temperature=1,lookback=15"
    assert best["before"]["lower_pct"] > 5 and best["after"]["lower_pct"] > 5
    assert best["before"]["score"] == min(each["before"]["score"] for each in own["combinations"])
    assert own["judged"]["t"] > 3 and own["judged"]["rank"] == 1
    assert own["sentence"] == (
        f"bundled: of 6 combinations tried on {tuning['periods']['before']['dates']} dates whose "
        f"outcomes were known by {UNTIL}, temperature=1, lookback=15 had the lowest CRPS, "
        f"{best['before']['lower_pct']:.1f} % lower than the plain settings (temperature=2.5, "
        f"lookback=20); on the {tuning['periods']['after']['dates']} dates after that day its CRPS "
        f"was {best['after']['lower_pct']:.1f} % lower than theirs (t {own['judged']['t']:.1f}), "
        "which made it number 1 of the 6."
    )
    assert own["sentence"] in capsys.readouterr().out


def test_the_choice_is_judged_beside_the_plain_settings_on_later_dates():
    record = record_of(*OPTIONS, "--temperature", "2.5", *GRID, "--tune-until", UNTIL)
    name = "bundled temperature=1,lookback=15"
    assert [s["name"] for s in record["sources"] if s["kind"] == "model"] == ["bundled", name]
    assert record["settings"][name]["temperature"] == 1.0
    assert record["settings"][name]["lookback"] == 15
    assert record["judged"] == "after_tuning"
    span = record["spans"]["after_tuning"]
    assert span["first"] > UNTIL
    assert span["against"][name]["bundled"]["3"]["crps"]["t"] > 3
    assert "dates after tuning: its forecasts" in record["verdicts"][name]


def later(frame):
    """Other candles after the day."""
    after = frame.index >= pd.Timestamp("2023-09-01", tz="UTC")
    prices = ["open", "high", "low", "close"]
    moves = np.random.default_rng(9).normal(1, 0.1, int(after.sum())).cumprod().clip(0.01)
    changed = frame.copy()
    changed.loc[after, prices] = frame.loc[after, prices].to_numpy() * moves[:, None]
    return changed


@pytest.mark.parametrize("store", ["store", "none"])
def test_nothing_that_came_after_the_day_changes_the_choice(tmp_path, monkeypatch, store):
    if store == "none":
        monkeypatch.setattr(job, "PIECE_BYTES", 30_000)
        monkeypatch.setattr("sandbox.skill.cells.BATCH_BYTES", 20_000)
    options = [*TUNE, "--store", store]
    first = record_of(*options)
    write_market(tmp_path / "candles", later)
    altered = record_of(*options)
    assert known_on_the_day(altered) == known_on_the_day(first)
    assert altered["tuning"]["periods"]["after"] != first["tuning"]["periods"]["after"]
    write_market(tmp_path / "candles", bars=185)  # eleven bars later they end
    assert known_on_the_day(record_of(*options)) == known_on_the_day(first)


def test_pieces_and_a_store_give_the_same_scores(monkeypatch):
    whole = record_of(*TUNE)
    monkeypatch.setattr(job, "PIECE_BYTES", 30_000)
    monkeypatch.setattr("sandbox.skill.cells.BATCH_BYTES", 20_000)
    assert record_of(*TUNE, "--store", "none")["tuning"] == whole["tuning"]


def test_scores_are_those_of_the_table_of_scores():
    """Found again from what the command writes without --tune."""
    tuning = record_of(*TUNE)["tuning"]
    combinations = tuning["models"]["bundled"]["combinations"]
    texts = [",".join(f"{k}={v}" for k, v in each["values"].items()) for each in combinations]
    assert main([*OPTIONS, "--variant", *texts, "--out", "all"]) == 0
    bars = pd.bdate_range(DAYS, periods=BARS, tz="UTC") + pd.Timedelta(hours=21)
    fourth = pd.Series(bars[3:], index=bars[:-3])  # when the horizon of each asof is over
    day = pd.Timestamp(UNTIL, tz="UTC") + pd.Timedelta(days=1)

    def crps(source, period):
        rows = read_source(Path("all") / FILE, source)
        over = rows["asof"].map(fourth)
        rows = rows[over < day if period == "before" else over.notna() & (rows["asof"] >= day)]
        daily = rows.groupby(["horizon", "asof"])["crps"].mean()
        return daily.groupby("horizon").mean(), daily.index.get_level_values("asof").unique()

    for period in ("before", "after"):
        walk, dates = crps("random-walk", period)
        assert len(dates) == tuning["periods"][period]["dates"]
        assert f"{dates[0]:%Y-%m-%d}" == tuning["periods"][period]["first"]
        for text, each in zip(texts, combinations, strict=True):
            found, _ = crps(f"bundled {text}", period)
            assert each[period]["score"] == pytest.approx((found / walk).mean(), rel=1e-5)
            assert list(each[period]["crps"].values()) == pytest.approx(found.tolist(), rel=1e-5)


def test_forecasts_whose_outcomes_reach_beyond_the_day_count_in_neither_period():
    periods = record_of(*TUNE)["tuning"]["periods"]
    assert periods["before"]["last"] == "2023-08-28"  # the third bar after it is of the 31st
    assert periods["after"]["first"] > UNTIL
    whole = record_of(*OPTIONS, folder="plain")
    assert periods["before"]["dates"] + periods["after"]["dates"] < whole["dates"]


def test_a_second_time_nothing_is_computed(quick):
    first = record_of(*TUNE)
    every = sum(quick.asked)
    assert first["forecasts"] == {"computed": every, "reused": 0}  # each is counted once
    again = record_of(*TUNE, folder="again")
    assert again["forecasts"] == {"computed": 0, "reused": every}
    assert sum(quick.asked) == every
    assert again["tuning"] == first["tuning"]


def test_what_was_interrupted_goes_on(quick):
    whole, calls = quick.predictor(), []

    def sample_paths(*args, **more):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("the machine is gone")
        return whole.sample_paths(*args, **more)

    quick.predictor = lambda **_: SimpleNamespace(sample_paths=sample_paths)
    assert main([*TUNE, "--out", "out"]) == 1
    assert not Path("out").exists()
    kept = sum(whole.asked)
    quick.predictor = lambda **_: whole
    assert record_of(*TUNE)["forecasts"]["reused"] == kept > 0


def test_plain_settings_that_are_best_stay():
    record = record_of(*OPTIONS, "--tune", "temperature=0.4,1", "--tune-until", UNTIL)
    own = record["tuning"]["models"]["bundled"]
    assert own["source"] == "bundled" and own["combinations"][own["chosen"]]["plain"]
    assert [s["name"] for s in record["sources"] if s["kind"] == "model"] == ["bundled"]
    assert (
        "the plain settings (temperature=1) had the lowest CRPS, and nothing is"
        in (own["sentence"])
    )
    assert record["judged"] == "after_tuning"


def test_a_variant_that_is_chosen_is_named_once():
    record = record_of(*OPTIONS, "--temperature", "2.5", "--variant", "temperature=1.0",
                       "--tune", "temperature=0.4,1", "--tune-until", UNTIL)  # fmt: skip
    assert record["tuning"]["models"]["bundled"]["source"] == "bundled temperature=1.0"
    names = [s["name"] for s in record["sources"] if s["kind"] == "model"]
    assert names == ["bundled", "bundled temperature=1.0"]


def test_ramps_are_tuned_and_varied():
    record = record_of(*OPTIONS, "--variant", "temperature=0.5:1.5",
                       "--tune", "temperature=0.4,0.4:2,1.0", "--tune-until", UNTIL)  # fmt: skip
    assert record["settings"]["bundled temperature=0.5:1.5"]["temperature"] == "0.5:1.5"
    values = [c["values"]["temperature"] for c in
              record["tuning"]["models"]["bundled"]["combinations"]]  # fmt: skip
    assert values == ["0.4", "0.4:2", "1.0"]


def test_every_model_is_tuned(monkeypatch):
    def find(name):
        own, model = make_checkpoint(), Spread()
        own.name, own.fingerprint = name, {"mini": "1", "small": "2"}[name] * 64
        own.predictor = lambda **_: model
        return own

    monkeypatch.setattr("kronos.find", find)
    record = record_of(*TUNE, "--model", "mini", "small")
    models = record["tuning"]["models"]
    assert list(models) == ["mini", "small"]
    assert models["small"]["sentence"].startswith("small: of 6 combinations")


def test_dates_that_the_model_may_have_seen_are_doubted(quick):
    doubt = "Settings were chosen on dates of which a model may have seen those to 2023-03-31"
    assert not any(doubt in note for note in record_of(*TUNE)["notes"])
    quick.seen_until = date(2023, 3, 31)
    assert any(doubt in note for note in record_of(*TUNE)["notes"])


def test_few_dates_claim_nothing():
    late = ["--every", "20"]
    sentence = record_of(*TUNE, *late)["tuning"]["models"]["bundled"]["sentence"]
    assert "Nothing is claimed: there are 8 dates before and 4 after, and 20 of each" in sentence
    assert " (t " not in sentence


def test_of_equal_combinations_the_plain_one_stays():
    """What is sampled here does not depend on the lookback."""
    options = ["--tune", "lookback=15,20,18", "--tune-until", UNTIL]
    own = record_of(*OPTIONS, *options)["tuning"]["models"]["bundled"]
    assert {each["before"]["score"] for each in own["combinations"]} == {
        own["plain"]["before"]["score"]
    }
    assert own["combinations"][own["chosen"]]["values"] == {"lookback": "20"}


def test_where_nothing_moves_nothing_is_chosen(tmp_path):
    def still(frame):
        return frame.assign(open=5.0, high=5.0, low=5.0, close=5.0)

    write_market(tmp_path / "candles", still)
    own = record_of(*TUNE)["tuning"]["models"]["bundled"]
    assert own["chosen"] is None and own["source"] is None
    assert "none is chosen, as nothing moved on them." in own["sentence"]


def test_combinations_of_other_lookbacks_forecast_the_same_cells():
    long = [*OPTIONS, "--start", "2023-01-02", "--tune", "lookback=20,60", "--tune-until", UNTIL]
    record = record_of(*long)
    first = pd.Timestamp(record["over_time"]["times"][0], unit="s")
    assert first.date() == pd.bdate_range(DAYS, periods=BARS)[60].date()
    assert record["tuning"]["periods"]["before"]["first"] == f"{first:%Y-%m-%d}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tune", "top_p=0.9,1"], "--tune: say by which day settings are chosen, with "
         "--tune-until DATE"),
        (["--tune-until", UNTIL], "--tune-until 2023-08-31: say what to tune, such as --tune "),
        (["--tune", "samples=8,9", "--tune-until", UNTIL], "'samples' is no setting that can be "
         "tuned, there are lookback, temperature, top_p, top_k; write it as name=value,value"),
        (["--tune", "temprature=1", "--tune-until", UNTIL], "did you mean 'temperature'?"),
        (["--tune", "top_p", "--tune-until", UNTIL], "--tune 'top_p': 'top_p' is no setting"),
        (["--tune", "temperature=1,0.5,1.0", "--tune-until", UNTIL], "1.0 is given twice"),
        (["--tune", "temperature=0.5:0.5,0.5", "--tune-until", UNTIL], "0.5 is given twice"),
        (["--tune", "top_p=1", "top_p=0.9", "--tune-until", UNTIL], "--tune top_p is given twice"),
        (["--tune", "lookback=x", "--tune-until", UNTIL], "lookback 'x' is not a whole number"),
        (["--tune", "lookback=20,", "--tune-until", UNTIL], "lookback '' is not a whole number"),
        (["--tune", "temperature=1:", "--tune-until", UNTIL], "--tune 'temperature=1:': write one "
         "number, or two as 0.6:1.0"),
        (["--tune", "top_p=2", "--tune-until", UNTIL], "--tune 'top_p=2': input should be less"),
        (["--tune", "lookback=600", "--tune-until", UNTIL], "sees 512 bars at most"),
        ([*GRID, "--tune-until", "2022-12-31"], "--tune-until 2022-12-31: the first forecast is of "
         "2023-02-01, which is later"),
        ([*GRID, "--tune-until", "2024-06-30"], "--tune-until 2024-06-30: the last forecast is of "
         "2023-12-28, so that none is left to judge a choice"),
        ([*GRID, "--tune-until", "2023-02-02"], "--tune-until 2023-02-02: of no forecast were all "
         "3 bars ahead known by then; forecasts are of 2023-02-01 to 2023-12-28"),
        ([*GRID, "--tune-until", "2023-12-26"], "--tune-until 2023-12-26: of no later forecast are "
         "all 3 bars ahead known yet"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line_before_anything_is_computed(options, words, capsys, quick):
    assert words in error_of(capsys, *OPTIONS, *options)
    assert not quick.asked and not Path("runs").exists()
