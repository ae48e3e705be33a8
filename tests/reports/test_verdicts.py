"""What the report says of the model, for cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from reports.folder import read_run
from reports.luck import Difference, interval
from reports.metrics import all_figures
from reports.verdicts import against_luck, all_verdicts, outcome
from tests.reports.conftest import CASH, NAIVE, edit_csv


def verdict(folder, name="topk"):
    run = read_run(folder)
    return all_verdicts(run, all_figures(run))[name]


def shift(folder, name, daily):
    """Add to a portfolio's growth each day."""

    def change(equity):
        rows = equity["strategy"] == name
        growth = np.exp(daily * np.arange(rows.sum()))
        equity.loc[rows, ["value", "gross_value"]] *= growth[:, None]
        return equity

    edit_csv(folder / "equity.csv", change)


def copy(folder, source, targets):
    """Give portfolios another one's equity."""

    def change(equity):
        rows = equity[equity["strategy"] == source]
        kept = equity[~equity["strategy"].isin(targets)]
        return pd.concat([kept, *(rows.assign(strategy=target) for target in targets)])

    edit_csv(folder / "equity.csv", change)


CONTROLS = [f"topk:{naive}" for naive in NAIVE]


def test_a_strategy_far_above_all_its_twins_was_helped(run_folder):
    folder = run_folder(bars=750)
    shift(folder, "topk", 0.003)
    found = verdict(folder)
    assert found["sentence"].startswith("Kronos helped topk: Sharpe ")
    assert "for the best of its 5 naive controls (" in found["sentence"]
    assert "is more than luck explains (90 % interval +" in found["sentence"]
    assert all(found["against"][control]["low"] > 0 for control in CONTROLS)
    assert found["benchmark_sentence"].startswith("topk beat benchmark: Sharpe ")


def test_a_strategy_far_below_its_best_twin_was_hurt(run_folder):
    folder = run_folder(bars=750)
    shift(folder, "topk:random", 0.004)
    found = verdict(folder)
    assert found["sentence"].startswith("Kronos hurt topk: ")
    assert "(random, picked after the fact)" in found["sentence"]
    assert found["against"]["topk:random"]["high"] < 0


def test_within_luck_nothing_is_claimed_and_the_figures_are_those_of_the_table(run_folder):
    folder = run_folder(bars=300)
    run = read_run(folder)
    figures = all_figures(run)
    found = all_verdicts(run, figures)["topk"]
    sharpes = {control: figures["portfolios"][control]["whole"]["sharpe"] for control in CONTROLS}
    best = max(CONTROLS, key=sharpes.get)
    ours, entry = figures["portfolios"]["topk"]["whole"]["sharpe"], found["against"][best]
    assert entry["low"] < 0 < entry["high"]
    assert found["sentence"] == (
        f"Kronos did not clearly help topk: Sharpe {ours:.2f} against {sharpes[best]:.2f} for the "
        f"best of its 5 naive controls ({best[5:]}, picked after the fact); the difference of "
        f"{ours - sharpes[best]:+.2f} lies within luck (90 % interval {entry['low']:+.2f} to "
        f"{entry['high']:+.2f})."
    )
    assert entry["sharpe_difference"] == pytest.approx(ours - sharpes[best])


def test_being_worse_than_the_luckiest_of_five_is_not_yet_hurt():
    """Below 0 by the plain interval, and not once the pick among five is allowed for."""
    draws = np.linspace(-2.05, 0.05, 2001)  # 2.4 % of them above 0
    low, high = interval(draws)
    difference = Difference(
        sharpe_difference=-1.0, low=low, high=high, share_above_zero=0.024, draws=draws
    )
    assert high < 0
    assert outcome(difference, 1) == "hurt"
    assert outcome(difference, 5) == "did not clearly help"
    assert against_luck(difference, 1).startswith("the difference of -1.00 is more than luck")
    assert against_luck(difference, 5).startswith(
        "the difference of -1.00 lies within luck once the pick among 5 is allowed for (90 %"
    )


def test_a_strategy_that_does_the_same_on_every_signal_is_told_so(run_folder):
    folder = run_folder(bars=100)
    copy(folder, "topk", CONTROLS)
    assert verdict(folder)["sentence"].startswith("topk did the same on Kronos as on its naive")


def test_without_twins_the_sentence_is_of_the_benchmark(run_folder):
    found = verdict(run_folder(bars=300, controls=False))
    assert found["sentence"] == found["benchmark_sentence"]
    assert found["sentence"].startswith("topk did not clearly beat benchmark: Sharpe ")


def test_without_rivals_it_is_said_that_there_are_none(run_folder):
    found = verdict(run_folder(bars=300, controls=False, benchmark=False))
    assert found["sentence"] == "The run has no benchmark to compare topk with."
    assert found["against"] == {}


def test_three_bars_are_too_few_to_say(run_folder):
    found = verdict(run_folder(bars=3))
    assert found["sentence"] == "Kronos in topk cannot be judged: 3 days of 20 that are needed."
    assert found["benchmark_sentence"] == (
        "Whether topk beat benchmark cannot be said: 3 days of 20 that are needed."
    )
    assert found["against"]["benchmark"] == {
        "sharpe_difference": None, "low": None, "high": None, "share_above_zero": None,
    }  # fmt: skip


def test_what_never_moved_is_said_to_be_so(run_folder):
    folder = run_folder(bars=60)

    def still(equity):
        rows = equity["strategy"] == "topk"
        return equity.assign(**{name: equity[name].mask(rows, CASH)
                                for name in ("cash", "value", "gross_value")})  # fmt: skip

    edit_csv(folder / "equity.csv", still)
    found = verdict(folder)
    assert found["sentence"] == "Kronos in topk cannot be judged: the value of topk never moved."
    assert found["benchmark_sentence"].endswith("cannot be said: the value of topk never moved.")


def seen_until(day):
    return {"name": "mini", "fingerprint": "ab", "seen_until": day, "max_context": 512}


def test_only_days_that_the_model_has_not_seen_count(run_folder):
    folder = run_folder(bars=300, model=seen_until("2020-08-14"))
    found = verdict(folder)
    assert found["sentence"].endswith("Judged on the days after 2020-08-14 alone.")
    assert (found["span"], found["days"]) == ("unseen", 138)
    before = verdict(folder)["against"]
    shift(folder, "topk", 0.0)  # rewriting alone changes nothing
    assert verdict(folder)["against"] == before


def test_a_window_seen_whole_is_no_evidence(run_folder):
    found = verdict(run_folder(bars=100, model=seen_until("2024-06-30")))
    assert found["span"] == "whole"
    assert found["sentence"].endswith("The model may have seen these days, so this is no evidence.")
