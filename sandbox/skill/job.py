"""The job of the command: forecasts of a universe, their scores beside baselines', and a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feeds import Candles
from sandbox.config import NO_STORE, SkillConfig
from sandbox.errors import ConfigError, WindowError
from sandbox.files import Draft, FolderKind, package_versions, whole_folder
from sandbox.forecast.book import Forecasts, book_of
from sandbox.forecast.calendars import NamedCalendar
from sandbox.forecast.data import bar_times_inside, load_data
from sandbox.forecast.folds import WalkForwardSource, as_asked, source_of
from sandbox.forecast.model import Weights, expect_context, model_sentence
from sandbox.forecast.sources import KronosSource
from sandbox.forecast.windows import Array
from sandbox.progress import Bar, Progress
from sandbox.reporting import report_process
from sandbox.skill import garch
from sandbox.skill.baselines import BASELINES
from sandbox.skill.cells import FACTORS, Cells, factors, regimes
from sandbox.skill.evidence import has_confidence_sets
from sandbox.skill.expected import Expected, check_signal, without_outcome
from sandbox.skill.figures import Record
from sandbox.skill.grid import Periods, Tuning, all_asked, tuning_of
from sandbox.skill.sources import (
    Asked,
    BaselineSource,
    Batch,
    GarchSource,
    ModelSource,
    SignalSource,
    Source,
    asked,
    signal_names,
)
from sandbox.skill.summary import splits, summarise
from sandbox.skill.table import FILE, ScoresFile, noise_of, scored, scores_file
from sandbox.skill.tried import add_options, count, tries_document
from sandbox.skill.tune import progress_of_all, tune
from sandbox.skill.verdict import verdict
from sandbox.words import counted

FORMAT = 1
SKILL_FOLDER = FolderKind(mark="skill.json", words="a folder of sandbox.skill")
PIECE_BYTES = 256 << 20  # of paths, that are in memory at a time where no store keeps them
INSTALL = "pip install 'kronos-sandbox[skill]'"
PACKAGES = ("arch", "numpy", "pandas", "scipy", "torch")

Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A checked command: everything loaded, nothing computed."""

    config: SkillConfig
    asked: tuple[Asked, ...]
    signals: tuple[str, ...]
    candles: Candles
    calendar: NamedCalendar | None
    models: Mapping[str, Weights]
    forecasters: Mapping[str, KronosSource | WalkForwardSource]
    times: pd.DatetimeIndex  # bar times of the window
    cells: Cells
    tuning: Tuning | None

    @property
    def name(self) -> str:
        """Of its folder, unless that is given."""
        return f"skill-{'+'.join(self.models)}-{self.candles.spec}"

    @property
    def asofs(self) -> pd.DatetimeIndex:
        """When forecasts are asked for."""
        return self.times[:: self.config.skill.every]

    @property
    def seen_until(self) -> pd.Timestamp | None:
        """The last day that some model has seen, as far as that is known."""
        days = [own.seen_until for own in self.models.values() if own.seen_until is not None]
        return pd.Timestamp(max(days)).tz_localize("UTC") if days else None

    @property
    def title(self) -> str:
        cells = self.cells
        return (
            f"Skill of {', '.join(self.models)} on {self.candles.spec}, "
            f"{counted(len(cells.symbols), 'symbol')}, {_day(cells.dates_ns[0])} to "
            f"{_day(cells.dates_ns[-1])}, {counted(len(cells.dates_ns), 'date')}"
        )

    def frames(self, own: Asked) -> Frames:
        """The candles that a model gets with its settings: cut so that it forecasts the same cells
        as the one with the longest lookback."""
        return _cut(self.candles.frames, self.longest - own.sampling.lookback)

    @property
    def longest(self) -> int:
        tuned = self.tuning.asked if self.tuning else []
        return max(own.sampling.lookback for own in (*self.asked, *tuned))

    def book(
        self, own: Asked, first: int, end: int, progress: Progress, more_ns: Array | None = None
    ) -> Forecasts:
        """The forecasts of a model with its settings, of the cells from `first` to before `end`,
        whole dates each; as of `more_ns`, too."""
        date_of = self.cells.date_of
        asofs_ns = self.cells.dates_ns[date_of[first] : date_of[end - 1] + 1]
        if more_ns is not None:
            asofs_ns = np.append(asofs_ns, more_ns)
        options = replace(self.config.model, calibrate=own.calibrated)
        source = as_asked(self.forecasters[own.model], options, own.sampling)
        return book_of(
            source, self.frames(own), own.sampling, pd.DatetimeIndex(asofs_ns, tz="UTC"), progress,
            self.candles.members,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finished:
    folder: Path
    record: Record
    lines: Sequence[str]  # what has to be told besides


def run_skill(
    config: SkillConfig, *, out: Path | None, bar: Bar, to_qlib: Path | None = None
) -> Finished:
    """Forecast, score and write the folder; `bar` shows progress. `to_qlib`: a file to write the
    scores of the one model to, as Qlib's signal."""
    expected = None
    if to_qlib is not None:
        check_signal(all_asked(config), to_qlib)
        expected = Expected()
    run = prepare(config)
    with whole_folder(SKILL_FOLDER, run.name, out) as draft:
        record = _scored(run, draft, bar, expected)
        draft.write_json(SKILL_FOLDER.mark, record, indent=None)
        with report_process("reports.skill", str(draft.folder)) as report:
            report.finish("the page")
    with report_process("sandbox.tries", *add_options(draft.folder / SKILL_FOLDER.mark)) as tries:
        lines = count(tries)
    if expected is not None and to_qlib is not None:
        lines.append(expected.write(to_qlib, run.candles, draft.folder))
    return Finished(folder=draft.folder, record=record, lines=lines)


def prepare(config: SkillConfig) -> Prepared:
    """Load and check everything; raises the error that a user should read."""
    if config.model.calibrate and config.model.store == NO_STORE:
        raise ConfigError("--calibrate: it takes a --store, where past forecasts are kept")
    wanted, tuning = asked(config), tuning_of(config)
    everything = [*wanted, *(tuning.asked if tuning else ())]
    signals = signal_names(config.skill.signals)
    candles, calendar = load_data(config.candles)
    inside = bar_times_inside(candles, config.window)
    forecasters, models = {}, {}
    for own in everything:
        if own.model not in models:
            options = replace(config.model, model=own.model)
            forecasters[own.model], models[own.model] = source_of(
                options, own.sampling.lookback, config.backend, calendar
            )
        expect_context(models[own.model], own.sampling.lookback, "--lookback")
    longest = max(own.sampling.lookback for own in everything)
    cells = Cells.of(
        _whole(candles, config, longest), config.sampling, inside[:: config.skill.every], calendar,
        candles.members,
    )  # fmt: skip
    if tuning:
        Periods.of(cells, tuning)  # raises the error of a day that leaves nothing on one side
    return Prepared(
        config=config, asked=tuple(wanted), signals=tuple(signals), candles=candles,
        calendar=calendar, models=models, forecasters=forecasters, times=inside, cells=cells,
        tuning=tuning,
    )  # fmt: skip


def _whole(candles: Candles, config: SkillConfig, longest: int) -> Frames:
    """The candles without the bars before the first cell's lookback."""
    frames = _cut(candles.frames, longest - config.sampling.lookback)
    if not frames:
        raise WindowError(
            f"no symbol has {longest} bars: set a smaller --lookback, also in --variant"
        )
    return frames


def _cut(frames: Frames, bars: int) -> Frames:
    if not bars:
        return frames
    return {symbol: own.iloc[bars:] for symbol, own in frames.items() if len(own) > bars}


def _scored(run: Prepared, draft: Draft, bar: Bar, expected: Expected | None) -> Record:
    """Write the table of scores, and tell what `skill.json` holds."""
    cells, config = run.cells, run.config
    told = factors(cells, run.candles.frames)
    left_out: list[str] = []
    tuned = run.tuning and tune(run, run.tuning, partial(_pieces, run), bar)
    if tuned:
        run = replace(run, asked=(*run.asked, *tuned.chosen))
    others = [*_baselines(run, bar, left_out), *_signals(run)]
    kinds = {own.name: "model" for own in run.asked} | {own.name: own.kind for own in others}
    path = draft.folder / FILE
    with scores_file(path, cells) as file:
        counts, store_notes = _fill(run, others, file, bar, expected)
    if tuned:
        counts = tuned.with_counts(counts, run)
        store_notes = list(dict.fromkeys([*tuned.notes, *store_notes]))
    volatility = told[:, FACTORS.index("volatility")]
    tuned_until = run.tuning.end_ns if run.tuning else None
    parts = splits(cells.dates_ns, run.seen_until, regimes(cells, volatility), tuned_until)
    with bar("Judging", "sources") as progress:
        found = summarise(path, kinds, cells, told, parts, config.skill.every, progress)
    samples = {own.name: own.sampling.samples for own in run.asked}
    samples |= {own.name: own.samples for own in others}
    if not has_confidence_sets():
        left_out.append(f"the model confidence set, as arch is not installed: {INSTALL}")
    return {
        "format": FORMAT,
        "title": run.title,
        "verdicts": {
            own.name: verdict(found, kinds, own.name, own.sampling.samples) for own in run.asked
        },
        "sources": [
            {"name": name, "kind": kind, "samples": samples[name]} for name, kind in kinds.items()
        ],
        "left_out": left_out,
        "notes": [*_notes(run), *store_notes],
        "forecasts": counts,
        "cells": len(cells),
        "dates": len(cells.dates_ns),
        "symbols": list(cells.symbols),
        "data": {"spec": run.candles.spec, "hash": run.candles.data_hash,
                 "calendar": run.calendar and run.calendar.name},
        "models": {
            name: {"fingerprint": own.fingerprint, "seen_until": own.seen_until,
                   "max_context": own.max_context}
            for name, own in run.models.items()
        },
        "seen_until": run.seen_until and _day(run.seen_until.value),
        "settings": {own.name: own.settings() for own in run.asked},
        "tuning": tuned and tuned.record,
        "config": {name: value for name, value in config.flat().items() if name != "model"},
        "packages": package_versions(PACKAGES),
        "tries": tries_document(run),
        **found,
    }  # fmt: skip


def _baselines(run: Prepared, bar: Bar, left_out: list[str]) -> list[Source]:
    samples = run.config.sampling.samples
    found: list[Source] = [BaselineSource(name=name, samples=samples) for name in BASELINES]
    if not garch.is_installed():
        left_out.append(f"the GARCH(1,1) baseline, as arch is not installed: {INSTALL}")
        return found
    frames = {symbol: run.candles.frames[symbol] for symbol in run.cells.symbols}
    with bar("Fitting GARCH", "symbols") as progress:
        fits = garch.fit_all(
            frames, int(run.cells.dates_ns[0]), run.config.sampling.lookback, progress
        )
    drawn = garch.Garch(fits, frames)
    if drawn.unfitted:
        left_out.append(
            f"{drawn.unfitted:,} of {counted(drawn.count, 'GARCH fit')}, which had too few bars, "
            "bars that do not move, or did not converge: there the baseline has the variance of "
            "the bars"
        )
    return [*found, GarchSource(name=garch.GARCH, samples=samples, garch=drawn)]


def _signals(run: Prepared) -> list[Source]:
    return [SignalSource(name=name, sampling=run.config.sampling) for name in run.signals]


def _fill(
    run: Prepared, others: Sequence[Source], file: ScoresFile, bar: Bar, expected: Expected | None
) -> tuple[dict[str, int], list[str]]:
    """Score all cells piece by piece; how many forecasts were computed, and what to tell.

    What is `expected` is taken from all forecasts asked for: those without an outcome come last.
    """
    cells, total = run.cells, len(run.cells) * len(run.asked)
    counts = {"computed": 0, "reused": 0}
    notes: list[str] = []
    for first, end in _pieces(run, run.asked):
        sources: list[Source] = []
        more = None
        if expected is not None and end == len(cells):
            more = without_outcome(run.asofs, cells.dates_ns)
        with bar("Forecasting", "forecasts") as progress:
            for nth, own in enumerate(run.asked):
                before = len(cells) * nth + first
                told = partial(progress_of_all, progress, before, total)
                book = run.book(own, first, end, told, more)
                sources.append(ModelSource(name=own.name, samples=own.sampling.samples, book=book))
                counts["computed"] += book.computed
                counts["reused"] += book.reused
                notes += book.notes
        if expected is not None:  # then there is one model, with one setting
            with bar("Reading scores", "forecasts") as progress:
                expected.take(book, progress)
        with bar("Scoring", "cells") as progress:
            _score(run, [*sources, *others], file, (first, end), progress)
    return counts, list(dict.fromkeys(notes))


def _pieces(run: Prepared, asked: Sequence[Asked]) -> Iterator[tuple[int, int]]:
    """First and end of rows of the cells, whole dates each: all of them where a store keeps their
    paths, which are read from disk; else as many as fit in memory."""
    cells = run.cells
    each = sum(own.sampling.path_bytes for own in asked)
    count = 1 if run.config.model.store != NO_STORE else math.ceil(len(cells) * each / PIECE_BYTES)
    for dates in np.array_split(np.arange(len(cells.dates_ns)), count):
        if len(dates):
            first, end = np.searchsorted(cells.date_of, [dates[0], dates[-1] + 1])
            yield int(first), int(end)


def _score(
    run: Prepared, sources: Sequence[Source], file: ScoresFile, span: tuple[int, int],
    progress: Progress,
) -> None:  # fmt: skip
    cells, base = run.cells, run.config.sampling
    horizons = cells.horizons
    most = max(source.samples for source in sources)
    for rows in cells.batches(most, *span):
        batch = Batch.of(cells.windows.pick(rows), base)
        came, noise = cells.outcomes(rows), noise_of(cells, rows, base.seed, len(horizons))
        for source in sources:
            returns = source.returns(batch)
            whole = source.kind != "signal"
            for h, known, columns in scored(returns, came, horizons, noise, whole=whole):
                file.add(source.name, rows[known], h, columns)
        progress(int(rows[-1]) + 1, len(cells))


def _notes(run: Prepared) -> list[str]:
    """What a reader has to know before believing a figure."""
    cells, candles = run.cells, run.candles
    notes = [f"Data: {candles.note}"] if candles.note else []
    notes += [*candles.repairs, *candles.timing]
    first, last = (pd.Timestamp(ns, tz="UTC") for ns in cells.dates_ns[[0, -1]].tolist())
    notes += [model_sentence(own, first, last) for own in run.models.values()]
    if run.calendar is not None and run.calendar.note:
        notes.append(run.calendar.note)
    notes += _of_outcomes(cells, run.config.sampling.horizon)
    return notes


def _of_outcomes(cells: Cells, horizon: int) -> Iterator[str]:
    longest = cells.horizons[-1]
    if longest < horizon:
        yield (
            f"No outcome is known later than {counted(longest, 'bar')} ahead, though the horizon "
            f"is {counted(horizon, 'bar')}: what lies beyond is not scored."
        )
    missing = int((cells.bars_after < longest).sum())
    if missing:
        yield (
            f"What came {counted(longest, 'bar')} ahead of {missing:,} of {len(cells):,} forecasts "
            "is not known yet: they are scored at fewer bars."
        )


def _day(time: Any) -> str:
    return f"{pd.Timestamp(time):%Y-%m-%d}"
