"""What report.html says, as plain data for its template. All texts are escaped there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from reports import fills, luck
from reports.analyses import analyses_table, flattened
from reports.calendar_returns import returns_table, years
from reports.charts import ChartView, chart_view
from reports.costs import figures_with_costs_free
from reports.curves import ReportCharts
from reports.folder import RecordedPortfolio, Run
from reports.formats import counted
from reports.metrics import spans_of
from reports.overfitting import FEWEST_TRIES
from reports.quant import FEWEST_DAYS
from reports.sheets import FOLDER, sheet_files
from reports.sweeps import subjects
from reports.symbols import SymbolTables, symbol_tables
from reports.tables import FiguresOf, Table, controls_table, figures_table, sweep_table
from reports.tries_words import HEADS
from reports.verdicts import signal_of

_SWITCHES = {"controls": "--no-controls", "with_benchmark": "--no-benchmark"}  # on unless said


@dataclass(frozen=True, kw_only=True)
class Link:
    href: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`below`: how it stands against the benchmark, where `sentence` does not say it already."""

    sentence: str
    below: str


@dataclass(frozen=True, kw_only=True)
class StrategyDetails:
    """What is shown of one strategy after the comparison."""

    name: str
    returns: Table
    symbols: SymbolTables | None


@dataclass(frozen=True, kw_only=True)
class ControlsView:
    """Strategies beside their controls, over the days that are judged."""

    tables: Sequence[Table]
    judged: str
    days: int
    block_days: int
    resamples: int = luck.RESAMPLES
    interval_pct: int = luck.LEVEL_PCT


@dataclass(frozen=True, kw_only=True)
class TriesView:
    """How often one has looked; `sentence` is for the top of the page."""

    sentence: str
    sentences: Mapping[str, str]  # by what they are about
    registry: str
    fewest: int = FEWEST_TRIES


@dataclass(frozen=True, kw_only=True)
class ReportView:
    title: str
    facts: str
    seen: str  # what the model has seen of the window; "": nothing
    notes: Sequence[str]
    verdicts: Sequence[Verdict]
    sheets: Sequence[Link]
    fills: Link
    figures: Table
    cost_sentences: Sequence[str]
    days_per_year: int
    charts: Sequence[ChartView]
    sweeps: Sequence[Table]
    controls: ControlsView | None
    tries: TriesView | None  # None: the run is not counted as a try
    strategies: Sequence[StrategyDetails]
    analyzers: Table | None
    costs_title: str
    costs: Mapping[str, str]
    settings: Mapping[str, str]
    command: str
    resamples: int = luck.RESAMPLES


def report_view(run: Run, metrics: Mapping[str, Any], charts: ReportCharts) -> ReportView:
    costs = dict(run.record.get("costs") or {})
    preset = costs.pop("preset", None)
    seen = _seen_sentence(run)
    return ReportView(
        title=" and ".join(_subject(run, p) for p in subjects(run)),
        facts=_facts(run),
        seen=seen,
        notes=_notes(run, seen),
        verdicts=_verdicts(metrics),
        sheets=_sheet_links(run),
        fills=Link(href=fills.FILE, text=counted(len(run.trades), "fill")),
        figures=_figures(run, metrics),
        cost_sentences=[entry["sentence"] for entry in metrics["costs"].values()],
        days_per_year=metrics["bars_per_year"],
        charts=[chart_view(chart) for chart in charts.charts],
        sweeps=[_sweep(run, metrics, *sweep) for sweep in metrics["sweeps"].items()],
        controls=_controls(run, metrics),
        tries=_tries(metrics),
        strategies=_details(run),
        analyzers=_analyzers(run),
        costs_title=f"Costs: {preset}" if preset else "Costs",
        costs={name.replace("_", " "): _plain(value) for name, value in costs.items()},
        settings=_settings(run),
        command=command(run.record["config"]),
    )


def _subject(run: Run, portfolio: RecordedPortfolio) -> str:
    if portfolio.sweep_of is None:
        return portfolio.name
    tried = len(run.sweeps[portfolio.sweep_of])
    return f"{portfolio.sweep_of}, {counted(tried, 'combination')}"


def _facts(run: Run) -> str:
    data, model = run.record["data"], run.record.get("model")
    facts = [
        f"{data['spec']}, {counted(len(data['symbols']), 'symbol')}",
        f"{run.times[0]:%Y-%m-%d} to {run.times[-1]:%Y-%m-%d}, {len(run.times):,} bars",
        f"model {model['name']}" if model else f"signal {_signals(run)}, no model",
        f"starts with {run.start_cash:,.0f}",
    ]
    return " \N{MIDDLE DOT} ".join(facts)


def _signals(run: Run) -> str:
    return ", ".join(dict.fromkeys(p.signal or "none" for p in run.strategies))


def _notes(run: Run, seen: str) -> list[str]:
    """What to know before believing a figure."""
    # the run's own note on its model says the same as `seen` with the weights' name
    model_note = (run.record.get("model") or {}).get("note") if seen else None
    return [note for note in run.notes if note != model_note] + _missing(run)


def _seen_sentence(run: Run) -> str:
    """What the model's training may have seen of the window."""
    model, until = run.record.get("model"), run.seen_until
    if not model:
        return ""
    if until is None:
        return (
            f"How far the training data of model {model['name']} run is not known: it may have "
            "seen all of this window."
        )
    if run.times[0].tz_localize(None).normalize() > until:
        return ""
    if spans_of(run)["unseen"] is None:
        return (
            f"Model {model['name']} was trained on data to {until:%Y-%m-%d} and may have seen all "
            "of this window: no figure here is out of sample."
        )
    return (
        f"Model {model['name']} was trained on data to {until:%Y-%m-%d} and may have seen the days "
        "up to then: the table is split there, and only the days after it are out of sample."
    )


def _missing(run: Run) -> list[str]:
    """What cannot be computed, and why."""
    notes = []
    days = run.times.normalize().nunique()
    if days < FEWEST_DAYS:
        notes.append(
            f"{counted(days, 'day')} of trading: nothing is brought to a year, no "
            f"Sharpe ratio and no interval is given, and no tear sheet drawn; {FEWEST_DAYS} days "
            "are needed."
        )
    for portfolio in subjects(run):
        if portfolio.name not in set(run.trades["strategy"]):
            notes.append(f"{portfolio.name} never traded: it has no ratios and no tear sheet.")
    if run.benchmark is None:
        notes.append("No benchmark: nothing here tells skill from a rising market.")
    if not run.controls:
        notes.append("No naive controls: nothing here tells the model from the strategy around it.")
    return notes


def _verdicts(metrics: Mapping[str, Any]) -> list[Verdict]:
    return [
        Verdict(
            sentence=verdict["sentence"],
            below=verdict["benchmark_sentence"]
            if verdict["benchmark_sentence"] not in verdict["sentence"]
            else "",
        )
        for verdict in metrics["verdicts"].values()
    ]


def _sheet_links(run: Run) -> list[Link]:
    files = sheet_files([p.name for p in subjects(run)])
    return [Link(href=f"{FOLDER}/{quote(file)}", text=name) for name, file in files.items()]


def _figures(run: Run, metrics: Mapping[str, Any]) -> Table:
    """The whole window, or its unseen and seen parts first where the model's data end in it."""
    names = [p.name for p in (*subjects(run), *([run.benchmark] if run.benchmark else []))]
    headings = {"whole": "Whole window"}
    if spans_of(run)["unseen"] is not None:
        until = f"{run.seen_until:%Y-%m-%d}"
        headings = {"unseen": f"Unseen: after {until}", "seen": f"Maybe seen: to {until}"}
        headings["whole"] = "Whole window"
    return figures_table(
        [
            FiguresOf(
                heading=heading,
                portfolios={n: figures_with_costs_free(run, metrics, n, span) for n in names},
            )
            for span, heading in headings.items()
        ]
    )


def _sweep(run: Run, metrics: Mapping[str, Any], strategy: str, sweep: Mapping[str, Any]) -> Table:
    names = [*sweep["ranked"], *([run.benchmark.name] if run.benchmark else [])]
    figures = {name: metrics["portfolios"][name][sweep["span"]] for name in names}
    return sweep_table(strategy, figures, run.benchmark.name if run.benchmark else None)


def _controls(run: Run, metrics: Mapping[str, Any]) -> ControlsView | None:
    verdicts = metrics["verdicts"]
    tables = [
        _controls_table(run, strategy, metrics)
        for strategy in subjects(run)
        if verdicts[strategy.name]["against"]
    ]
    if not tables:
        return None
    verdict = next(iter(verdicts.values()))
    judged = "the whole window"
    if verdict["span"] == "unseen":
        judged = f"the days after {run.seen_until:%Y-%m-%d}"
    return ControlsView(
        tables=tables, judged=judged, days=verdict["days"], block_days=verdict["block_days"]
    )


def _tries(metrics: Mapping[str, Any]) -> TriesView | None:
    found = metrics.get("tries")
    return found and TriesView(
        sentence=found["sentence"],
        sentences=dict(zip(HEADS, found["sentences"], strict=True)),
        registry=found["registry"],
    )


def _controls_table(run: Run, strategy: RecordedPortfolio, metrics: Mapping[str, Any]) -> Table:
    verdict = metrics["verdicts"][strategy.name]
    titles = {p.name: signal_of(p.name) for p in run.controls_of(strategy.name)}
    titles[strategy.name] = strategy.signal or "its own signal"
    if run.benchmark:
        titles[run.benchmark.name] = f"({run.benchmark.name})"
    figures = {name: metrics["portfolios"][name][verdict["span"]] for name in titles}
    return controls_table(strategy.name, figures, verdict["against"], titles, luck.LEVEL_PCT)


def _details(run: Run) -> list[StrategyDetails]:
    rival_years = years(run, run.benchmark.name) if run.benchmark else None
    return [
        StrategyDetails(
            name=p.name,
            returns=returns_table(run, p.name, rival_years),
            symbols=symbol_tables(run, p.name),
        )
        for p in subjects(run)
    ]


def _analyzers(run: Run) -> Table | None:
    """What Backtrader's analyzers found, where it is a number or a few; metrics.json has all."""
    chosen = (*subjects(run), *([run.benchmark] if run.benchmark else []))
    found = flattened({p.name: run.analyses[p.name] for p in chosen if p.name in run.analyses})
    return analyses_table(found) if any(found.values()) else None


def _settings(run: Run) -> dict[str, str]:
    record = run.record
    model = record.get("model") or {}
    settings = {name: _plain(v) for name, v in record["config"].items() if v is not None}
    in_table = {p.name for p in subjects(run)}
    settings |= {
        f"parameters of {entry['name']}": _plain(entry.get("params") or {})
        for entry in record["portfolios"]
        if entry["name"] in in_table
    }
    settings["data hash"] = str(record["data"].get("hash", ""))
    if model:
        settings["weights"] = str(model.get("fingerprint", ""))
    refused = record.get("orders_refused") or {}
    combinations = {p.name for p in run.strategies} - in_table
    settings["orders refused"] = _plain({n: c for n, c in refused.items() if n not in combinations})
    settings["packages"] = _plain(record.get("packages") or {})
    return settings


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def command(config: Mapping[str, Any]) -> str:
    """The command line that starts the same run."""
    words = ["python", "-m", "sandbox.run", *map(str, config.get("strategies", ()))]
    for name, value in config.items():
        flag = f"--{name.replace('_', '-')}"
        if name in ("strategies", "params", "sweep", "analyzers") or value is None:
            continue
        if isinstance(value, bool):
            words += [flag] if value and name not in _SWITCHES else []
            words += [_SWITCHES[name]] if not value and name in _SWITCHES else []
        else:
            words += [flag, str(value)]
    words += _param_words(config.get("params") or {})
    sweep = config.get("sweep") or {}
    words += ["--sweep", *(f"{k}={','.join(map(str, v))}" for k, v in sweep.items())] * bool(sweep)
    analyzers = config.get("analyzers") or []
    words += ["--analyzer", *analyzers] * bool(analyzers)
    return shlex.join(words)


def _param_words(params: Mapping[str, Any]) -> Sequence[str]:
    pairs = [f"{name}={value}" for name, value in params.items()]
    return ["--param", *pairs] if pairs else []
