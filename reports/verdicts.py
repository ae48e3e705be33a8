"""Whether the model helped a strategy, in one sentence, and by how much against how much luck."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports import luck
from reports.folder import RecordedPortfolio, Run
from reports.luck import Difference, SharpeResamples
from reports.metrics import judged_span, periods_of, returns_of, spans_of
from reports.sweeps import all_sweeps, subjects

Rivals = dict[str, Difference | None]


def all_verdicts(run: Run, figures: dict[str, Any]) -> dict[str, Any]:
    """By strategy: the sentences, and the difference to each rival."""
    verdicts: dict[str, Any] = judged(run, figures)["verdicts"]
    return verdicts


def judged(run: Run, figures: dict[str, Any]) -> dict[str, Any]:
    """Verdicts by strategy, of a sweep by its best combination; and the sweeps.

    Where the model may have seen a part of the window, only the rest counts.
    """
    span = judged_span(run)
    resamples = _resamples(run, span)
    sharpes = {name: entry[span]["sharpe"] for name, entry in figures["portfolios"].items()}
    sweeps = all_sweeps(run, resamples, span)
    verdicts = {}
    for strategy in subjects(run):
        verdict = _verdict(run, strategy, resamples, sharpes, span)
        if strategy.sweep_of:  # picked for its Sharpe: a comparison that leaves that out misleads
            sentence = sweeps[strategy.sweep_of]["sentence"] + _caveat(run, span)
            verdict |= {"sentence": sentence, "benchmark_sentence": sentence, "against": {}}
        verdicts[strategy.name] = verdict
    return {"verdicts": verdicts, "sweeps": sweeps}


def _resamples(run: Run, span: str) -> SharpeResamples:
    rows = spans_of(run)[span]
    assert rows is not None
    returns = {p.name: returns_of(run, p.name, rows) for p in run.compared}
    return SharpeResamples(pd.DataFrame(returns), periods_of(run))


def _verdict(
    run: Run,
    strategy: RecordedPortfolio,
    resamples: SharpeResamples,
    sharpes: dict[str, float | None],
    span: str,
) -> dict[str, Any]:
    controls = [control.name for control in run.controls_of(strategy.name)]
    rivals = controls + ([run.benchmark.name] if run.benchmark else [])
    against = {rival: resamples.difference(strategy.name, rival) for rival in rivals}
    about_benchmark = _benchmark_sentence(run, strategy.name, against, sharpes, resamples.days)
    about_model = (
        _model_sentence(strategy, controls, against, sharpes, resamples.days)
        if controls
        else about_benchmark
    )
    return {
        "sentence": about_model + _caveat(run, span),
        "benchmark_sentence": about_benchmark,
        "span": span,
        "days": resamples.days,
        "block_days": resamples.block_days,
        "resamples": luck.RESAMPLES,
        "interval_pct": luck.LEVEL_PCT,
        "against": {rival: difference_entry(difference) for rival, difference in against.items()},
    }


def difference_entry(difference: Difference | None) -> dict[str, float | None]:
    names = ("sharpe_difference", "low", "high", "share_above_zero")
    return {name: None if difference is None else getattr(difference, name) for name in names}


def why_unsaid(days: int, name: str, sharpe: float | None) -> str:
    """Why there is nothing to compare."""
    if days < luck.FEWEST_DAYS:
        return f"{days} day{'' if days == 1 else 's'} of {luck.FEWEST_DAYS} that are needed"
    if sharpe is None:
        return f"the value of {name} never moved"
    return "one of them hardly moved"


def _model_sentence(
    strategy: RecordedPortfolio,
    controls: list[str],
    against: Rivals,
    sharpes: dict[str, float | None],
    days: int,
) -> str:
    """Against the best of the controls, which is the hardest comparison."""
    signal, name = signal_title(strategy.signal), strategy.name
    ours = sharpes[name]
    if ours is None:
        return f"{signal} in {name} cannot be judged: {why_unsaid(days, name, ours)}."
    rated = [control for control in controls if against[control] is not None]
    if not rated:
        return (
            f"Whether {signal} helped {name} cannot be said: no control has days enough to compare."
        )
    best = max(rated, key=lambda control: sharpes[control] or 0.0)
    difference = against[best]
    assert difference is not None
    if not difference.draws.any():
        return f"{name} did the same on {signal} as on its naive control {signal_of(best)}."
    return (
        f"{signal} {outcome(difference, len(rated))} {name}: "
        f"Sharpe {ours:.2f} against {sharpes[best]:.2f} for {_best_of(best, len(rated))}; "
        f"{against_luck(difference, len(rated))}."
    )


def outcome(difference: Difference, choices: int) -> str:
    """To beat the best of several by luck is hard; to be worse than it is easy."""
    if difference.low > 0:
        return "helped"
    if difference.bounds(choices)[1] < 0:
        return "hurt"
    return "did not clearly help"


def _best_of(best: str, choices: int) -> str:
    if choices == 1:
        return f"its naive control ({signal_of(best)})"
    return f"the best of its {choices} naive controls ({signal_of(best)}, picked after the fact)"


def against_luck(difference: Difference, choices: int = 1) -> str:
    """The difference in words; the rival is the pick of so many."""
    interval = f"({luck.LEVEL_PCT} % interval {difference.low:+.2f} to {difference.high:+.2f})"
    gap = f"the difference of {difference.sharpe_difference:+.2f}"
    if difference.low <= 0 <= difference.high:
        return f"{gap} lies within luck {interval}"
    if difference.high < 0 <= difference.bounds(choices)[1]:
        return f"{gap} lies within luck once the pick among {choices} is allowed for {interval}"
    return f"{gap} is more than luck explains {interval}"


def _benchmark_sentence(
    run: Run, name: str, against: Rivals, sharpes: dict[str, float | None], days: int
) -> str:
    if run.benchmark is None:
        return f"The run has no benchmark to compare {name} with."
    rival = run.benchmark.name
    difference, ours, theirs = against[rival], sharpes[name], sharpes[rival]
    if ours is None or theirs is None or difference is None:
        return f"Whether {name} beat {rival} cannot be said: {why_unsaid(days, name, ours)}."
    if difference.low > 0:
        compared = f"beat {rival}"
    elif difference.high < 0:
        compared = f"did worse than {rival}"
    else:
        compared = f"did not clearly beat {rival}"
    return f"{name} {compared}: Sharpe {ours:.2f} against {theirs:.2f}; {against_luck(difference)}."


def _caveat(run: Run, span: str) -> str:
    """What the model may have seen of the days that were judged."""
    if span == "unseen":
        return f" Judged on the days after {run.seen_until:%Y-%m-%d} alone."
    seen = run.seen_until
    if seen is not None and run.times[0].tz_localize(None).normalize() <= seen:
        return " The model may have seen these days, so this is no evidence."
    return ""


def signal_title(signal: str | None) -> str:
    return {"kronos": "Kronos", None: "Its signal"}.get(signal, f"The {signal} signal")


def signal_of(control: str) -> str:
    """`topk:momentum` -> `momentum`."""
    return control.rpartition(":")[2]
