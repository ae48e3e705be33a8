"""A registry's tries by data and window, for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sandbox.tries.contents import Contents, Counted
from sandbox.tries.tried import Days, Scored, Tried, TriedOn, TriedRun

FEWEST_DAYS = 20  # fewer have no Sharpe ratio, as in reports


@dataclass(frozen=True, kw_only=True)
class Group:
    """What was tried on the same candles in the same window."""

    spec: str
    data_hash: str
    first_bar: str
    last_bar: str
    things: int  # that are different
    scored: int  # of them by `sandbox.skill`, which have no Sharpe ratio
    best: str  # the name with the highest Sharpe ratio
    best_sharpe: float | None  # a year
    last: str  # when a run last tried something new, UTC


def groups(contents: Contents) -> list[Group]:
    """The one that was tried on last comes first."""
    by_place: dict[tuple[str, str, str], list[Counted]] = {}
    for each in contents.tries.values():
        run = each.run
        place = run.data_hash, run.first_bar, run.last_bar
        by_place.setdefault(place, []).append(each)
    return sorted(map(_group, by_place.values()), key=lambda group: group.last, reverse=True)


def _group(tries: list[Counted]) -> Group:
    run = tries[-1].run
    sharpes = {id(each.tried): _sharpe_of(each) for each in tries}
    best = max(tries, key=lambda each: _or_least(sharpes[id(each.tried)])).tried
    return Group(
        spec=run.spec, data_hash=run.data_hash, first_bar=run.first_bar, last_bar=run.last_bar,
        things=_different(tries),
        scored=_different(each for each in tries if isinstance(each.tried, Scored)), best=best.name,
        best_sharpe=sharpes[id(best)], last=max(each.run.when for each in tries),
    )  # fmt: skip


def _different(tries: Iterable[Counted]) -> int:
    return len({each.tried.thing for each in tries})


def tried_here(contents: Contents, here: TriedOn) -> int:
    """How many different things have been tried on that data, by its spec or its candles, in a
    window that shares a day with that one; `reports` counts so, too."""
    return _different(each for each in contents.tries.values() if _is_here(each.run, here))


def _is_here(run: TriedOn, here: TriedOn) -> bool:
    same_data = run.data_hash == here.data_hash or run.spec == here.spec
    begins_before = run.first_bar[:10] <= here.last_bar[:10]
    return same_data and begins_before and here.first_bar[:10] <= run.last_bar[:10]


def _sharpe_of(each: Counted) -> float | None:
    if isinstance(each.tried, Tried) and isinstance(each.run, TriedRun):
        return sharpe(each.tried, each.run)
    return None


def _or_least(value: float | None) -> float:
    return -np.inf if value is None else value


def sharpe(tried: Tried, run: TriedRun) -> float | None:
    """A year's, as in reports; None: it never moved, or the days are too few."""
    returns = tried.returns.astype(float)
    if len(returns) < FEWEST_DAYS or not np.isfinite(returns).all() or not np.ptp(returns):
        return None
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(days_per_year(run.days)))


def days_per_year(days: Days) -> int:
    """252 for sessions, 365 with weekends, fewer for bars that are days apart; as in reports."""
    if len(days) < 2:
        return 252
    spacing = np.diff(days)
    if spacing.min() >= 2:
        return max(1, round(365.25 / float(np.median(spacing))))
    weekdays = {int(day + 3) % 7 for day in days}  # 1970-01-01 was a Thursday
    if {5, 6} <= weekdays:
        return 365
    return 252 if len(weekdays) <= 5 else 313


def chosen(tries: Mapping[str, Counted], *, data: str | None, folder: str | None) -> list[str]:
    """Keys of the tries on some data, by its spec or how its hash begins, and of a run folder."""
    return [
        key
        for key, each in tries.items()
        if (data is None or _is_of(each.run, data)) and folder in (None, each.run.folder)
    ]


def _is_of(run: TriedOn, data: str) -> bool:
    return run.spec == data or (len(data) >= 6 and run.data_hash.startswith(data))


def known_data(tries: Iterable[Counted]) -> list[str]:
    return list(dict.fromkeys(each.run.spec for each in tries))


def known_folders(tries: Iterable[Counted]) -> list[str]:
    return list(dict.fromkeys(each.run.folder for each in tries))
