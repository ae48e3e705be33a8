"""What a skill page says, as plain data for its template, which escapes it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.charts import ChartView, chart_view
from reports.curves import ReportCharts
from reports.formats import counted
from reports.skill_folder import SIGNAL, Skill
from reports.skill_pictures import Bars, Odds, odds_pictures, pit_pictures
from reports.skill_tables import (
    MOST_SYMBOLS,
    SHOWN_SYMBOLS,
    against_table,
    bands_table,
    brier_table,
    crps_table,
    decay_table,
    energy_table,
    has_years,
    parts_table,
    rank_lead_table,
    ranking_table,
    right_share,
    symbols_table,
    volatility_table,
)
from reports.skill_tuning import TuningView, tuning_view
from reports.tables import Table

FEWEST_DATES = 20  # below that nothing is claimed


@dataclass(frozen=True, kw_only=True)
class SkillView:
    title: str
    facts: str
    judged: str
    bars: str  # the last horizon, in words
    verdicts: Sequence[str]
    notes: Sequence[str]
    left_out: Sequence[str]
    crps: Table
    crps_against: Sequence[Table]
    has_sets: bool
    bands: Table
    has_years: bool  # among the dates, so that bands are looked at by year
    right: str  # what bands should hold, where it is not their level
    pits: Sequence[Bars]
    brier: Table
    up_share: str
    odds: Sequence[Odds]
    energy: Table
    energy_against: Sequence[Table]
    volatility: Table
    volatility_against: Sequence[Table]
    ranking: Table | None  # None: there are too few symbols
    decay: Table | None
    rank_leads: Sequence[Table]
    parts: Sequence[Table]
    symbols: Table
    which_symbols: str
    tuning: TuningView | None
    charts: Sequence[ChartView]
    has_signals: bool
    settings: Mapping[str, str]


def skill_view(skill: Skill, charts: ReportCharts) -> SkillView:
    record = skill.record
    ranks = any(
        skill.figures(own.name, h)["rank_ic"]["mean"] is not None
        for own in skill.sources
        for h in skill.horizons
    )
    return SkillView(
        title=str(record["title"]),
        facts=_facts(skill),
        judged=_judged(skill),
        bars=counted(skill.headline, "bar"),
        verdicts=list(record["verdicts"].values()),
        notes=list(record["notes"]),
        left_out=list(record["left_out"]),
        crps=crps_table(skill),
        crps_against=[against_table(skill, model, "crps") for model in skill.models],
        has_sets=any(skill.span["confidence_set"].values()),
        bands=bands_table(skill),
        has_years=has_years(skill),
        right=_right(skill),
        pits=pit_pictures(skill),
        brier=brier_table(skill),
        up_share=_up_share(skill),
        odds=odds_pictures(skill),
        energy=energy_table(skill),
        energy_against=[against_table(skill, model, "energy") for model in skill.models],
        volatility=volatility_table(skill),
        volatility_against=[against_table(skill, model, "volatility") for model in skill.models],
        ranking=ranking_table(skill) if ranks else None,
        decay=decay_table(skill) if ranks else None,
        rank_leads=[rank_lead_table(skill, model) for model in skill.models if ranks],
        parts=[parts_table(skill, model) for model in skill.models],
        symbols=symbols_table(skill),
        which_symbols=_which_symbols(skill),
        tuning=tuning_view(skill),
        charts=[chart_view(chart) for chart in charts.charts],
        has_signals=any(own.kind == SIGNAL for own in skill.sources),
        settings=_settings(skill),
    )


def _facts(skill: Skill) -> str:
    record, config = skill.record, skill.record["config"]
    facts = [
        str(record["data"]["spec"]),
        counted(len(record["symbols"]), "symbol"),
        counted(record["dates"], "date") + f", every {_nth(config['every'])} bar time",
        f"{record['cells']:,} forecasts a source",
        f"{config['horizon']} bars ahead from {config['lookback']}",
    ]
    return " \N{MIDDLE DOT} ".join(facts)


def _nth(every: int) -> str:
    ends = {1: "", 2: "2nd", 3: "3rd"}
    return ends.get(every, f"{every}th").strip() or "single"


def _judged(skill: Skill) -> str:
    span = skill.span
    days = f"{span['first']} to {span['last']}, {counted(span['dates'], 'date')}"
    if skill.judged == "unseen":
        return f"{days} after the last day that a model has seen ({skill.record['seen_until']})"
    if skill.judged == "after_tuning":
        until = (
            f"after the last day that settings were chosen by ({skill.record['tuning']['until']})"
        )
        few = ", too few to claim anything" if span["dates"] < FEWEST_DATES else ""
        return f"{days} {until}{few}"
    if span["dates"] < FEWEST_DATES:
        return f"{days}, too few to claim anything"
    return days


def _right(skill: Skill) -> str:
    """Where samples are too few for the outer bands."""
    found: dict[int, list[str]] = {}
    for own in skill.sources:
        for level in skill.record["levels_pct"]:
            right = right_share(level, own.samples)
            if right < level / 100:
                found.setdefault(own.samples, []).append(f"{level} % band {100 * right:.1f} %")
    return "; ".join(f"with {n} samples {', '.join(dict.fromkeys(t))}" for n, t in found.items())


def _up_share(skill: Skill) -> str:
    up = skill.figures(skill.models[0], skill.headline)["up_share"]
    if up is None:
        return ""
    return f"{100 * up:.1f} % rose; saying so every time scores {up * (1 - up):.4f}"


def _which_symbols(skill: Skill) -> str:
    count = len(skill.record["symbols"])
    if count <= MOST_SYMBOLS:
        return ""
    return f"The {SHOWN_SYMBOLS} best and the {SHOWN_SYMBOLS} worst of {count:,}."


def _settings(skill: Skill) -> dict[str, str]:
    record = skill.record
    settings: dict[str, Any] = {"data hash": record["data"]["hash"]}
    settings["calendar"] = record["data"]["calendar"]
    settings |= {name: value for name, value in record["config"].items() if value is not None}
    for name, own in record["models"].items():
        settings[f"weights of {name}"] = own["fingerprint"]
        settings[f"{name} has seen data to"] = own["seen_until"] or "not known"
    settings |= {f"version of {name}": value for name, value in record["packages"].items()}
    return {name.replace("_", " "): _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
