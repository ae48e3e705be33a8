"""Settings chosen on dates up to one day, and judged on dates after it.

What they are chosen by is their score: CRPS (`scores.fair_crps`) at every scored horizon as a share
of the random walk's on the same forecasts, and the mean of these shares, so that far bars count as
much as near ones. A CRPS is the mean over dates of each date's mean. Lower is better, 1 is as good
as the random walk. Which forecasts count for the choice and which for the judgement, `grid.Periods`
says: nothing that came after the day has any influence on the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from feeds import CLOSE
from sandbox.config import NO_STORE, Sampling
from sandbox.forecast.windows import Array
from sandbox.progress import Bar, Progress
from sandbox.skill.baselines import RANDOM_WALK
from sandbox.skill.cells import scored_horizons
from sandbox.skill.evidence import diebold_mariano, overlap
from sandbox.skill.figures import Record, number
from sandbox.skill.grid import Combination, Periods, Tuning
from sandbox.skill.scores import Floats, fair_crps
from sandbox.skill.sources import Asked, BaselineSource, Batch, ModelSource
from sandbox.skill.tune_words import sentence

if TYPE_CHECKING:
    from sandbox.skill.job import Prepared

BEFORE, AFTER = "before", "after"

ModelSettings = tuple[str, Sampling]  # a model by name, and its settings
Pieces = Callable[[Sequence[Asked]], Iterator[tuple[int, int]]]  # of the rows of the cells


class Tuned(NamedTuple):
    """What came of it."""

    record: Record  # what `skill.json` holds
    chosen: Sequence[Asked]  # of every model, but where its plain settings are best
    computed: Mapping[ModelSettings, int]  # forecasts
    reused: Mapping[ModelSettings, int]  # forecasts that came from the store
    notes: Sequence[str]

    def with_counts(self, counts: Mapping[str, int], run: Prepared) -> dict[str, int]:
        """How many forecasts were computed and taken from the store in all, where `counts` are
        those of `run.asked`: what the store got from the tuning is not counted again."""
        stored = run.config.model.store != NO_STORE
        again = [(own.model, own.sampling) for own in _raw(run) if stored]
        twice = sum(self.computed.get(own, 0) + self.reused.get(own, 0) for own in again)
        return {
            "computed": counts["computed"] + sum(self.computed.values()),
            "reused": counts["reused"] + sum(self.reused.values()) - twice,
        }


def tune(run: Prepared, tuning: Tuning, pieces: Pieces, bar: Bar) -> Tuned:
    """Score all combinations and the plain settings of every model, and choose."""
    periods = Periods.of(run.cells, tuning)
    plain = [own for own in _raw(run) if own.sampling == run.config.sampling]
    wanted = {(own.model, own.sampling): own for own in (*plain, *tuning.asked)}
    scores = _Scores(run, pieces, np.flatnonzero(periods.before | periods.after))
    with bar("Tuning", "forecasts") as progress:
        for nth, own in enumerate(wanted.values()):
            scores.add(own, nth, len(wanted), progress)
    record = _record(run, tuning, periods, scores)
    return Tuned(
        record=record,
        chosen=_chosen(record, run, tuning),
        computed=scores.computed,
        reused=scores.reused,
        notes=[*_seen(record, run), *dict.fromkeys(scores.notes)],
    )


class _Scores:
    """Mean CRPS of every date and horizon, `[D, H]`, of settings that are added one at a time."""

    def __init__(self, run: Prepared, pieces: Pieces, used: Array) -> None:
        """used: rows of the cells that count, in order."""
        self._run, self._pieces, self._used = run, pieces, used
        self.horizons = scored_horizons(run.cells.horizon)
        self.computed: dict[ModelSettings, int] = {}
        self.reused: dict[ModelSettings, int] = {}
        self.notes: list[str] = []
        self.crps: dict[ModelSettings, Floats] = {}
        self.random_walk = self._random_walk()

    def add(self, own: Asked, nth: int, count: int, progress: Progress) -> None:
        """The nth of so many: forecast and scored, also piece by piece."""
        key, cells = (own.model, own.sampling), self._run.cells
        sums = self._zeros()
        self.computed[key] = self.reused[key] = 0

        for first, end in self._pieces([own]):
            done_before, total = len(cells) * nth + first, len(cells) * count
            book = self._run.book(
                own, first, end, partial(progress_of_all, progress, done_before, total)
            )
            self.computed[key] += book.computed
            self.reused[key] += book.reused
            self.notes += book.notes
            source = ModelSource(name=own.name, samples=own.sampling.samples, book=book)
            for rows in self._batches(own.sampling.samples, first, end):
                self._add_up(sums, rows, source.drawn(cells.windows.pick(rows)))
        self.crps[key] = self._means(sums)

    def _random_walk(self) -> Floats:
        cells, base, sums = self._run.cells, self._run.config.sampling, self._zeros()
        source = BaselineSource(name=RANDOM_WALK, samples=base.samples)
        for rows in self._batches(base.samples, 0, len(cells)):
            batch = Batch.of(cells.windows.pick(rows), base)
            self._add_up(sums, rows, source.returns(batch))
        return self._means(sums)

    def _batches(self, samples: int, first: int, end: int) -> Iterator[Array]:
        for rows in self._run.cells.batches(samples, first, end):
            used = np.intersect1d(rows, self._used, assume_unique=True)
            if len(used):
                yield used

    def _zeros(self) -> Floats:
        return np.zeros((len(self._run.cells.dates_ns), len(self.horizons)))

    def _add_up(self, sums: Floats, rows: Array, returns: Array) -> None:
        """Add the CRPS of some cells by date and horizon, one after the other: whatever rows come
        later, those before add up to the same bits."""
        cells = self._run.cells
        came = cells.outcomes(rows)
        for nth, h in enumerate(self.horizons):
            crps = fair_crps(returns[:, :, h - 1, CLOSE], came[:, h - 1, CLOSE])
            np.add.at(sums[:, nth], cells.date_of[rows], crps)

    def _means(self, sums: Floats) -> Floats:
        cells = self._run.cells
        counts = np.bincount(cells.date_of[self._used], minlength=len(cells.dates_ns))
        means: Floats = sums / np.where(counts, counts, np.nan)[:, None]
        return means


def _raw(run: Prepared) -> list[Asked]:
    """Settings are chosen by what they are worth before anything is calibrated."""
    return [own for own in run.asked if not own.calibrated]


def progress_of_all(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(min(before + done, total), total)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Scores over the dates of one period."""

    dates: Array  # [D] of True and False
    walk: Floats  # [H], the random walk's CRPS
    crps: Mapping[ModelSettings, Floats]  # [D, H]
    horizons: Sequence[int]
    overlapping: int
    record: Record

    @classmethod
    def of(cls, run: Prepared, rows: Array, scores: _Scores) -> _Judged:
        """rows: `[W]`, which cells are of the period."""
        cells, horizons = run.cells, scores.horizons
        dates = np.bincount(cells.date_of[rows], minlength=len(cells.dates_ns)) > 0
        walk: Floats = scores.random_walk[dates].mean(axis=0)
        first, last = (f"{pd.Timestamp(ns):%Y-%m-%d}" for ns in cells.dates_ns[dates][[0, -1]])
        return cls(
            dates=dates,
            walk=walk,
            crps=scores.crps,
            horizons=horizons,
            overlapping=overlap(cells.horizon, run.config.skill.every),
            record={
                "first": first, "last": last, "dates": int(dates.sum()),
                "forecasts": int(rows.sum()), "random_walk_crps": _by_horizon(horizons, walk),
            },
        )  # fmt: skip

    def daily(self, own: ModelSettings) -> Floats:
        """The score of each date, `[n]`; NaN where the random walk is never wrong."""
        wrong = self.walk > 0
        if not wrong.any():
            return np.full(int(self.dates.sum()), np.nan)
        shares: Floats = self.crps[own][self.dates][:, wrong] / self.walk[wrong]
        return shares.mean(axis=1)

    def score(self, own: ModelSettings) -> float:
        return float(self.daily(own).mean())

    def figures(self, own: ModelSettings, plain: ModelSettings) -> Record:
        score, other = self.score(own), self.score(plain)
        return {
            "score": number(score),
            "lower_pct": number(100 * (1 - score / other)) if other > 0 else None,
            "crps": _by_horizon(self.horizons, self.crps[own][self.dates].mean(axis=0)),
        }


def _record(run: Prepared, tuning: Tuning, periods: Periods, scores: _Scores) -> Record:
    """What `skill.json` holds of it."""
    judged = {
        BEFORE: _Judged.of(run, periods.before, scores),
        AFTER: _Judged.of(run, periods.after, scores),
    }
    base = run.config.sampling
    known = {(own.model, own.sampling): own.name for own in reversed(_raw(run))}
    models = {}
    for model, combinations in tuning.combinations.items():
        models[model] = found = _model(combinations, (model, base), judged)
        found["plain"]["values"] = _plain_values(base, tuning)
        if found["chosen"] is not None:
            own = combinations[found["chosen"]].asked
            found["source"] = known.get((model, own.sampling), own.name)
    record: Record = {
        "until": str(tuning.until),
        "settings": {name: list(values) for name, values in tuning.settings.items()},
        "horizons": scores.horizons,
        "periods": {name: period.record for name, period in judged.items()},
        "models": models,
    }
    for model, found in models.items():
        found["sentence"] = sentence(model, record)
    return record


def _seen(record: Record, run: Prepared) -> Iterator[str]:
    """What to doubt where a model has learnt from the dates that settings were chosen by."""
    first = pd.Timestamp(record["periods"][BEFORE]["first"], tz="UTC")
    if run.seen_until is not None and first <= run.seen_until:
        yield (
            f"Settings were chosen on dates of which a model may have seen those to "
            f"{run.seen_until:%Y-%m-%d}: what is best where it knows the outcomes may be too bold "
            "elsewhere."
        )


def _chosen(record: Record, run: Prepared, tuning: Tuning) -> list[Asked]:
    """The combinations that are chosen, but for those that are asked for anyway."""
    asked = [own.name for own in run.asked]
    found = {each.asked.name: each.asked for own in tuning.combinations.values() for each in own}
    sources = [own["source"] for own in record["models"].values()]
    chosen = [found[source] for source in sources if source is not None and source not in asked]
    return [both for own in chosen for both in own.both(calibrate=run.config.model.calibrate)]


def _by_horizon(horizons: Sequence[int], values: Floats) -> dict[str, float | None]:
    return {str(h): number(value) for h, value in zip(horizons, values.tolist(), strict=True)}


def _model(
    combinations: Sequence[Combination], plain: ModelSettings, judged: Mapping[str, _Judged]
) -> Record:
    """Scores of a model with its plain settings and with every combination, and the choice."""
    keys = [(own.asked.model, own.asked.sampling) for own in combinations]
    before, after = ([judged[name].score(key) for key in keys] for name in (BEFORE, AFTER))
    chosen = _best(before, keys, plain)
    found: Record = {
        "plain": {name: period.figures(plain, plain) for name, period in judged.items()},
        "combinations": [
            {"values": dict(own.values), "plain": key == plain}
            | {name: period.figures(key, plain) for name, period in judged.items()}
            for own, key in zip(combinations, keys, strict=True)
        ],
        "chosen": chosen,
        "source": None,
        "judged": None,
    }
    if chosen is not None:
        period = judged[AFTER]
        test = diebold_mariano(period.daily(keys[chosen]), period.daily(plain), period.overlapping)
        found["judged"] = test.record() | {
            "rank": 1 + sum(score < after[chosen] for score in after)
        }
    return found


def _best(
    scores: Sequence[float], keys: Sequence[ModelSettings], plain: ModelSettings
) -> int | None:
    """The place of the lowest score: of equals that of the plain settings, or else the first."""
    if math.isnan(scores[0]):
        return None
    lowest = [nth for nth, score in enumerate(scores) if score == min(scores)]
    return next((nth for nth in lowest if keys[nth] == plain), lowest[0])


def _plain_values(base: Sampling, tuning: Tuning) -> dict[str, str]:
    """The plain settings of what is tuned, as they could be given."""
    return {name: str(getattr(base, name)).removesuffix(".0") for name in tuning.settings}
