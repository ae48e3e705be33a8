"""The sections of report.html, as HTML. Every text from the run folder is escaped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from reports import luck
from reports.analyses import analyses_table, flattened
from reports.costs import figures_with_costs_free
from reports.curves import all_charts
from reports.folder import Portfolio, Run
from reports.metrics import spans_of
from reports.quant import FEWEST_DAYS
from reports.sheets import FOLDER, sheet_files
from reports.style import page
from reports.sweeps import subjects
from reports.tables import controls_table, figures_table, sweep_table
from reports.verdicts import signal_of

_SWITCHES = {"controls": "--no-controls", "with_benchmark": "--no-benchmark"}  # on unless said


def report_page(run: Run, metrics: Mapping[str, Any]) -> str:
    """The whole of report.html."""
    title = " and ".join(escape(_subject(run, p)) for p in subjects(run))
    body = (
        f"<h1>{title}</h1>{_facts(run)}{_warnings(run)}{_verdicts(run, metrics)}{_links(run)}"
        f"<h2>Figures</h2>{_figures(run, metrics)}{all_charts(run)}"
        f"{_sweeps(run, metrics)}{_controls(run, metrics)}{_analyses(run)}{_costs(run)}"
        f"{_settings(run)}"
    )
    return page(f"{title}: report", body)


def _subject(run: Run, portfolio: Portfolio) -> str:
    if portfolio.sweep_of is None:
        return portfolio.name
    tried = len(run.sweeps[portfolio.sweep_of])
    return f"{portfolio.sweep_of}, {tried:,} combination{'' if tried == 1 else 's'}"


def _facts(run: Run) -> str:
    data, model = run.record["data"], run.record.get("model")
    symbols = len(data["symbols"])
    facts = [
        f"{data['spec']}, {symbols} symbol{'' if symbols == 1 else 's'}",
        f"{run.times[0]:%Y-%m-%d} to {run.times[-1]:%Y-%m-%d}, {len(run.times):,} bars",
        f"model {model['name']}" if model else f"signal {_signals(run)}, no model",
        f"starts with {run.start_cash:,.0f}",
    ]
    told = " \N{MIDDLE DOT} ".join(facts)
    return f'<p class="soft facts">{escape(told)}</p>'


def _signals(run: Run) -> str:
    return ", ".join(dict.fromkeys(p.signal or "none" for p in run.strategies))


def _warnings(run: Run) -> str:
    """What to know before believing a figure: what the model has seen first."""
    seen = _seen_sentence(run)
    # the run's own note on its model says the same with the weights' name
    notes = [note for note in run.notes if not (seen and note.startswith("Model: "))]
    notes += _too_short(run)
    if not seen and not notes:
        return ""
    told = f"<p><b>{escape(seen)}</b></p>" if seen else ""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    listed = f"<ul>{listed}</ul>" if listed else ""
    return f'<div class="warn">{told}{listed}</div>'


def _seen_sentence(run: Run) -> str:
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


def _too_short(run: Run) -> list[str]:
    """What cannot be computed, and why."""
    told = []
    days = run.times.normalize().nunique()
    if days < FEWEST_DAYS:
        told.append(
            f"{days} day{'' if days == 1 else 's'} of trading: nothing is brought to a year, no "
            f"Sharpe ratio and no interval is given, and no tear sheet drawn; {FEWEST_DAYS} days "
            "are needed."
        )
    for portfolio in subjects(run):
        if portfolio.name not in set(run.trades["strategy"]):
            told.append(f"{portfolio.name} never traded: it has no ratios and no tear sheet.")
    if run.benchmark is None:
        told.append("No benchmark: nothing here tells skill from a rising market.")
    if not run.controls:
        told.append("No naive twins: nothing here tells the model from the strategy around it.")
    return told


def _verdicts(run: Run, metrics: Mapping[str, Any]) -> str:
    told = ""
    for verdict in metrics["verdicts"].values():
        second = verdict["benchmark_sentence"]
        below = f"<span>{_prose(second)}</span>" if second not in verdict["sentence"] else ""
        told += f'<p class="verdict">{_prose(verdict["sentence"])}{below}</p>'
    return told


def _prose(sentence: str) -> str:
    """HTML with minus signs, and numbers that stay with their unit."""
    text = escape(sentence).replace(" %", "&nbsp;%")
    return re.sub(r"(?<=[ (])-(?=\d)", "\N{MINUS SIGN}", text)


def _links(run: Run) -> str:
    files = sheet_files([p.name for p in subjects(run)])
    links = ", ".join(
        f'<a href="{FOLDER}/{quote(file)}">{escape(name)}</a>' for name, file in files.items()
    )
    return f"<p>quantstats' full tear sheet{'s' if len(files) > 1 else ''}: {links}</p>"


def _figures(run: Run, metrics: Mapping[str, Any]) -> str:
    names = [p.name for p in (*subjects(run), *([run.benchmark] if run.benchmark else []))]
    headings = {"whole": "Whole window"}
    if spans_of(run)["unseen"] is not None:
        until = f"{run.seen_until:%Y-%m-%d}"
        headings = {"unseen": f"Unseen: after {until}", "seen": f"Maybe seen: to {until}"}
        headings["whole"] = "Whole window"
    groups = [
        (heading, {name: figures_with_costs_free(run, metrics, name, span) for name in names})
        for span, heading in headings.items()
    ]
    told = "".join(f"<p>{_prose(entry['sentence'])}</p>" for entry in metrics["costs"].values())
    free = (
        " Costs-free: a portfolio of its own where no trade costs anything and any size fills "
        "(lots and price limits stay); money saved is invested."
        if told
        else ""
    )
    return figures_table(groups) + (
        f'{told}<p class="soft">Net: after commission, slippage and impact. Gross: the '
        f"same fills at their prices before costs; money saved stays cash.{free} "
        "Ratios and drawdown are "
        f"quantstats', on daily returns against a rate of 0, a year of {metrics['bars_per_year']} "
        "days. Hit rate: days with a gain among days on which the value moved. Exposure: share of "
        "the value that is not cash. Turnover of 100 % a year sells the average portfolio once and "
        "buys another. Cost drag: costs paid a year, of the average value.</p>"
    )


def _sweeps(run: Run, metrics: Mapping[str, Any]) -> str:
    tables = "".join(
        _sweep(run, metrics, strategy, sweep) for strategy, sweep in metrics["sweeps"].items()
    )
    if not tables:
        return ""
    return (
        f"<h2>All combinations</h2>{tables}<p class='soft'>Best Sharpe ratio first, of the days "
        "that are judged. What luck makes of so many is the best lead over the benchmark in "
        f"{luck.RESAMPLES:,} resamples of the same days for all, in blocks, each lead less the one "
        "observed (the reality check of White 2000, with Sharpe ratios). It knows of the "
        "combinations of this run alone: those tried before it count as well. Combinations have "
        "no twins on naive signals or without costs; run one with --param for those.</p>"
    )


def _sweep(run: Run, metrics: Mapping[str, Any], strategy: str, sweep: Mapping[str, Any]) -> str:
    names = [*sweep["ranked"], *([run.benchmark.name] if run.benchmark else [])]
    figures = {name: metrics["portfolios"][name][sweep["span"]] for name in names}
    return sweep_table(strategy, figures, run.benchmark.name if run.benchmark else None)


def _analyses(run: Run) -> str:
    """What Backtrader's analyzers found, where it is a number or a few; metrics.json has all."""
    chosen = (*subjects(run), *([run.benchmark] if run.benchmark else []))
    found = flattened({p.name: run.analyses[p.name] for p in chosen if p.name in run.analyses})
    if not any(found.values()):
        return ""
    return (
        f"<h2>Backtrader's analyzers</h2>{analyses_table(found)}<p class='soft'>As Backtrader "
        "computes them, from the first bar of the run on; results of many rows, such as returns "
        "by month, are in metrics.json alone.</p>"
    )


def _controls(run: Run, metrics: Mapping[str, Any]) -> str:
    tables = "".join(_controls_of(run, strategy, metrics) for strategy in subjects(run))
    if not tables:
        return ""
    verdict = next(iter(metrics["verdicts"].values()))
    judged = "the whole window"
    if verdict["span"] == "unseen":
        judged = f"the days after {run.seen_until:%Y-%m-%d}"
    return (
        "<h2>The same strategies on naive signals</h2>"
        f"{tables}<p class='soft'>Of {judged}, "
        f"{verdict['days']:,} days. Sharpe difference: the strategy's less that row's. Its "
        f"{luck.LEVEL_PCT} % interval is from a paired circular block bootstrap of "
        f"{luck.RESAMPLES:,} resamples in blocks of {verdict['block_days']} days, the same days "
        "for both (Politis and Romano 1992; Ledoit and Wolf 2008). An interval that holds 0 means "
        "that luck may explain the difference. Where several twins are compared, the best of them "
        "is partly lucky.</p>"
    )


def _controls_of(run: Run, strategy: Portfolio, metrics: Mapping[str, Any]) -> str:
    verdict = metrics["verdicts"][strategy.name]
    if not verdict["against"]:
        return ""
    titles = {p.name: signal_of(p.name) for p in run.twins(strategy.name)}
    titles[strategy.name] = strategy.signal or "its own signal"
    if run.benchmark:
        titles[run.benchmark.name] = f"({run.benchmark.name})"
    figures = {name: metrics["portfolios"][name][verdict["span"]] for name in titles}
    return controls_table(strategy.name, figures, verdict["against"], titles, luck.LEVEL_PCT)


def _costs(run: Run) -> str:
    costs = dict(run.record.get("costs") or {})
    preset = costs.pop("preset", None)
    told = {name.replace("_", " "): _plain(value) for name, value in costs.items()}
    title = f"Costs: {preset}" if preset else "Costs"
    return (
        f"<h2>{escape(title)}</h2>{_pairs(told)}"
        '<p class="soft">bps: of the value traded, each side. impact: k in k &times; sigma &times; '
        "sqrt(size / mean volume). volume cap: of a bar's volume. Decided at a bar's close, filled "
        "at the next bar's open.</p>"
    )


def _settings(run: Run) -> str:
    record = run.record
    model = record.get("model") or {}
    told = {name: _plain(value) for name, value in record["config"].items() if value is not None}
    shown = {p.name for p in subjects(run)}
    told |= {
        f"parameters of {entry['name']}": _plain(entry.get("params") or {})
        for entry in record["portfolios"]
        if entry["name"] in shown
    }
    told["data hash"] = str(record["data"].get("hash", ""))
    if model:
        told["weights"] = str(model.get("fingerprint", ""))
    refused = record.get("orders_refused") or {}
    combinations = {p.name for p in run.strategies} - shown
    told["orders refused"] = _plain({n: c for n, c in refused.items() if n not in combinations})
    told["packages"] = _plain(record.get("packages") or {})
    return (
        f"<h2>Settings</h2>{_pairs(told)}<h2>How to repeat it</h2>"
        f"<pre>{escape(command(record['config']))}</pre>"
    )


def _pairs(told: Mapping[str, str]) -> str:
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in told.items()
    )
    return f"<dl>{cells}</dl>"


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
