"""SPA and StepM by `arch`: what they are compared with, and that the blocks of `luck` are its."""

import sys

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import SPA, CircularBlockBootstrap, RealityCheck, StepM

from reports import luck
from reports.luck import SharpeResamples, block_days
from reports.superior import superior


def market(days=400, tries=6, seed=0, better=()):
    """A rival and tries that share most of what moves them; some are better by 4 a year."""
    generator = np.random.default_rng(seed)
    rival = generator.normal(0.0004, 0.01, days)
    returns = rival[:, None] + generator.normal(0, 0.004, (days, tries))
    for column in better:
        returns[:, column] += 4 * 0.004 / np.sqrt(252)
    return returns, rival


def at_equal_volatility(returns, rival):
    lead = returns / returns.std(axis=0, ddof=1) - (rival / rival.std(ddof=1))[:, None]
    return lead / lead.std(axis=0, ddof=1)


def test_it_is_the_test_of_arch():
    returns, rival = market()
    test = SPA(
        np.zeros(400), -at_equal_volatility(returns, rival), block_size=block_days(400),
        reps=1000, bootstrap="circular", seed=luck.SEED,
    )  # fmt: skip
    test.compute()
    assert superior(returns, rival).chance == test.pvalues["consistent"]


@pytest.mark.parametrize("better", [(), (2,), (0, 3, 4)])
def test_the_steps_are_those_of_arch(better):
    returns, rival = market(seed=1, better=better, days=1000)
    steps = StepM(
        np.zeros(1000), -at_equal_volatility(returns, rival), size=0.05,
        block_size=block_days(1000), reps=1000, bootstrap="circular", seed=luck.SEED,
    )  # fmt: skip
    steps.compute()
    assert list(superior(returns, rival).better) == steps.superior_models == list(better)


def test_where_all_are_better_in_the_end_all_are_named():
    """`arch`'s own StepM fails where the last ones are found in a second step."""
    returns, rival = market(tries=3, seed=3, better=(0, 0, 0))
    returns[:, 1:] += np.array([1.45, 1.52]) * 0.004 / np.sqrt(252)
    steps = StepM(
        np.zeros(400), -at_equal_volatility(returns, rival), size=0.05, block_size=block_days(400),
        reps=1000, bootstrap="circular", seed=luck.SEED,
    )  # fmt: skip
    with pytest.raises(ValueError, match="zero-size array"):
        steps.compute()
    assert superior(returns, rival).better == (0, 1, 2)


def test_on_noise_a_best_one_is_seldom_believed():
    found = [superior(*market(days=120, tries=8, seed=seed)) for seed in range(30)]
    assert np.mean([each.chance < 0.1 for each in found]) < 0.25
    assert np.mean([bool(each.better) for each in found]) < 0.15
    assert 0.3 < np.mean([each.chance for each in found]) < 0.75


def test_more_risk_is_no_merit():
    returns, rival = market(tries=2)
    doubled = superior(np.column_stack([2 * rival, returns[:, 0]]), rival)
    assert doubled.better == ()
    assert superior(2 * rival[:, None], rival) == "all of them did what it did"


def test_why_nothing_is_said(monkeypatch):
    returns, rival = market()
    assert superior(returns, np.zeros(400)) == "its value never moved"
    monkeypatch.setattr("reports.superior.MOST_TRIES", 5)
    assert superior(returns, rival) == "there are more than 5"
    for name in [name for name in sys.modules if name.partition(".")[0] == "arch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "arch", None)  # as if it were not installed
    assert superior(returns, rival) == (
        "the package arch is not installed (pip install 'kronos-sandbox[skill]')"
    )


def test_the_blocks_of_luck_are_those_of_arch():
    """The interval of a difference of Sharpe ratios, by `arch`'s circular block bootstrap."""
    returns, rival = market(days=300)
    frame = pd.DataFrame({"a": returns[:, 0], "b": rival})
    ours = SharpeResamples(frame, 252, resamples=4000).difference("a", "b")

    def difference(drawn):
        sharpes = np.sqrt(252) * drawn.mean(axis=0) / drawn.std(axis=0, ddof=1)
        return sharpes[0] - sharpes[1]

    theirs = CircularBlockBootstrap(block_days(300), frame.to_numpy(), seed=3).apply(
        difference, 4000
    )
    low, high = np.percentile(theirs, [5, 95])
    width = high - low
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.05 * width)
    assert ours.draws.std() == pytest.approx(theirs.std(), rel=0.06)


def test_the_reality_check_of_luck_is_that_of_arch():
    """With Sharpe ratios there, with means at equal volatility here: about the same chance."""
    for seed in range(4):
        returns, rival = market(days=500, seed=seed, better=(1,) if seed > 2 else ())
        frame = pd.DataFrame(returns, columns=list("uvwxyz")).assign(rival=rival)
        ours = SharpeResamples(frame, 252).best_of(list("uvwxyz"), "rival")
        level = returns / returns.std(axis=0, ddof=1)
        check = RealityCheck(
            -rival / rival.std(ddof=1), -level, block_size=block_days(500), reps=2000,
            bootstrap="circular", seed=5,
        )  # fmt: skip
        check.compute()
        assert ours.chance == pytest.approx(check.pvalues["upper"], abs=0.06)
