"""All figures of a table of scores: what `skill.json` holds, and the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sandbox.forecast.windows import Array
from sandbox.progress import Progress
from sandbox.skill.baselines import RANDOM_WALK
from sandbox.skill.cells import Cells
from sandbox.skill.evidence import (
    FEWEST_DATES,
    confidence_set,
    diebold_mariano,
    mean_of,
    overlap,
)
from sandbox.skill.figures import Record, Scored, Shape, number
from sandbox.skill.table import LEVELS_PCT, read_source

WHOLE, UNSEEN, SEEN, AFTER_TUNING = "whole", "unseen", "seen", "after_tuning"
REGIMES = ("calm", "usual", "restless")
COMPARED = {"crps": "crps", "energy": "energy", "volatility": "volatility_error"}  # daily losses
Kinds = Mapping[str, str]  # source -> model, baseline or signal

_AllScored = dict[str, dict[int, Scored]]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Dates `[D]` of True and False by name."""

    # whole; unseen and seen where the models' data end among the dates; after_tuning
    spans: Mapping[str, Array]
    years: Mapping[str, Array]
    regimes: Mapping[str, Array]

    @property
    def judged(self) -> str:
        """The span that is judged: what the models had not seen, if those are dates enough, and no
        date that settings were chosen by."""
        unseen, after = self.spans.get(UNSEEN), self.spans.get(AFTER_TUNING)
        enough = unseen is not None and unseen.sum() >= FEWEST_DATES
        if after is not None:
            return UNSEEN if enough and not (unseen & ~after).any() else AFTER_TUNING
        return UNSEEN if enough else WHOLE


def splits(
    dates_ns: Array,
    seen_until: pd.Timestamp | None,
    regime: Array,
    tuned_until_ns: int | None = None,
) -> Splits:
    """seen_until: the last day that some model has seen, without a zone; None: not known, or no
    model. regime: `[D]`, a place among `REGIMES` or -1. tuned_until_ns: the end of the day up to
    which settings were chosen, after which there are dates; None: none were."""
    times = pd.DatetimeIndex(dates_ns).tz_localize("UTC")
    spans = {WHOLE: np.ones(len(times), bool)}
    if seen_until is not None:
        after = np.asarray(times.normalize() > seen_until)
        if after.any():
            spans |= {UNSEEN: after}
        if after.any() and not after.all():
            spans |= {SEEN: ~after}
    if tuned_until_ns is not None:
        spans[AFTER_TUNING] = dates_ns >= tuned_until_ns
    years = np.asarray(times.year)
    return Splits(
        spans=spans,
        years={str(year): years == year for year in np.unique(years)},
        regimes={name: regime == nth for nth, name in enumerate(REGIMES) if (regime == nth).any()},
    )


def summarise(
    path: Path,
    kinds: Kinds,
    cells: Cells,
    factors: Array,
    parts: Splits,
    every: int,
    progress: Progress,
) -> Record:
    """Figures by span, source and horizon; comparisons of every model; splits.

    path: of the table of scores. factors: `[W, F]`, of the cells.
    """
    horizons = cells.horizons
    shape = _shape(cells, factors)
    found: dict[str, Record] = {span: {} for span in parts.spans}
    by_symbol: Record = {}
    kept: _AllScored = {}
    for nth, source in enumerate(kinds):
        progress(nth, len(kinds))
        rows = read_source(path, source)
        kept[source] = {}
        for h in horizons:
            own = Scored.of(rows[rows["horizon"] == h], shape, overlap(h, every))
            for span, dates in parts.spans.items():
                found[span].setdefault(source, {})[str(h)] = own.figures(dates)
            if h == horizons[-1]:
                by_symbol[source] = _by_symbol(own, parts.spans[parts.judged])
            kept[source][h] = own.light()
    headline = horizons[-1]
    progress(len(kinds), len(kinds))
    return {
        "horizons": horizons,
        "headline": headline,
        "judged": parts.judged,
        "spans": {
            span: {
                "dates": int(dates.sum()),
                "first": _day(cells, dates, 0),
                "last": _day(cells, dates, -1),
                "figures": found[span],
                "against": _against(kept, kinds, dates, horizons),
                "confidence_set": _sets(kept, dates, horizons),
            }
            for span, dates in parts.spans.items()
        },
        "years": _parted(kept, parts.years, headline),
        "regimes": _parted(kept, parts.regimes, headline),
        "by_symbol": by_symbol,
        "over_time": _over_time(kept, cells, headline),
        "levels_pct": list(LEVELS_PCT),
    }


def _shape(cells: Cells, factors: Array) -> Shape:
    grid = np.full((len(cells.dates_ns), len(cells.symbols), factors.shape[1]), np.nan)
    grid[cells.date_of, cells.symbol_of] = factors
    return Shape(cells.dates_ns, cells.symbols, grid)


def _day(cells: Cells, dates: Array, place: int) -> str | None:
    own = cells.dates_ns[dates]
    return f"{pd.Timestamp(own[place]):%Y-%m-%d}" if len(own) else None


def _against(
    kept: _AllScored, kinds: Kinds, dates: Array, horizons: Sequence[int]
) -> dict[str, Record]:
    """Of every model against every other source: how much lower its losses are, how much higher its
    rank IC on the same dates, and how surely."""
    return {
        model: {
            other: {str(h): _comparison(kept[model][h], kept[other][h], dates) for h in horizons}
            for other in kinds
            if other != model
        }
        for model, kind in kinds.items()
        if kind == "model"
    }


def _comparison(own: Scored, other: Scored, dates: Array) -> Record:
    found: Record = {}
    for name, daily in COMPARED.items():
        ours, theirs = own.mean(daily, dates), other.mean(daily, dates)
        test = diebold_mariano(own.daily[daily][dates], other.daily[daily][dates], own.overlapping)
        skill = number(100 * (1 - ours / theirs)) if theirs > 0 else None
        found[name] = {"skill_pct": skill, **test.record()}
    more = own.ranks.rank_ic[dates] - other.ranks.rank_ic[dates]
    found["rank_ic"] = mean_of(more, own.overlapping).record()
    return found


def _sets(kept: _AllScored, dates: Array, horizons: Sequence[int]) -> dict[str, Record | None]:
    """p values of the model confidence set on CRPS, by horizon."""
    return {
        str(h): confidence_set(
            {source: own[h].daily["crps"][dates] for source, own in kept.items()},
            next(iter(kept.values()))[h].overlapping,
        )
        for h in horizons
    }


def _parted(kept: _AllScored, parts: Mapping[str, Array], horizon: int) -> dict[str, Record]:
    """Of every part of the dates and source, at one horizon."""
    return {
        part: {
            source: {
                "dates": int(np.isfinite(own[horizon].daily["crps"][dates]).sum()),
                "crps": number(own[horizon].mean("crps", dates)),
                "volatility_error": number(own[horizon].mean("volatility_error", dates)),
                "inside_90": number(own[horizon].mean("inside_90", dates)),
                "rank_ic": own[horizon].rank("rank_ic", dates).record(),
            }
            for source, own in kept.items()
        }
        for part, dates in parts.items()
    }


def _by_symbol(own: Scored, dates: Array) -> dict[str, Record]:
    rows = own.rows[dates[own.rows["date"].to_numpy()]]
    table = rows.groupby("symbol", observed=True)[["crps", "inside_90", "up"]]
    means = table.mean().assign(forecasts=table.size())
    return {
        str(symbol): {
            "forecasts": int(means.at[symbol, "forecasts"]),
            "crps": number(means.at[symbol, "crps"]),
            "inside_90": number(means.at[symbol, "inside_90"]),
        }
        for symbol in means.index
    }


def _over_time(kept: _AllScored, cells: Cells, horizon: int) -> Record:
    """One number a date and source: CRPS and rank IC."""
    return {
        "times": (cells.dates_ns // 10**9).tolist(),
        "crps": {s: _numbers(own[horizon].daily["crps"]) for s, own in kept.items()},
        "rank_ic": {s: _numbers(own[horizon].ranks.rank_ic) for s, own in kept.items()},
    }


def _numbers(values: Array) -> list[float | None]:
    return [number(value) for value in values.tolist()]


def reference(kinds: Kinds) -> str:
    """The baseline that skill is shown against where there is room for one."""
    return RANDOM_WALK if RANDOM_WALK in kinds else next(iter(kinds))
