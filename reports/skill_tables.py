"""Tables of a skill page: a row a source, and what its forecasts were worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reports.formats import (
    NOTHING,
    counted,
    shown,
    signed_fine_percent,
    signed_percent,
    signed_ratio,
    signed_tenths,
    signed_thousandths,
    whole,
)
from reports.skill_folder import MODEL, RANDOM_WALK, SIGNAL, Figures, Skill, Source
from reports.tables import Cell, Column, ColumnGroup, Row, Table

CLASSES = "small wide heat"
IN_SET = 0.1  # p value above which a source may be the best
SURE_T = 2.0
BAND_OFF = 0.03  # share by which a band is off before it is tinted
MOST_SYMBOLS = 40  # in a table; of more the best and the worst are shown
SHOWN_SYMBOLS = 15  # of each

_Cells = Callable[[Source, int], Sequence[Cell]]


def small_percent(value: float) -> str:
    """A share of a price, to four digits."""
    return f"{100 * value:#.4g}".removesuffix(".") + " %"


def lower_by(value: float) -> str:
    """Per cent; what rounds to nothing has no sign."""
    text = signed_percent(value)
    return text[1:] if float(text.rstrip(" %").replace(",", "")) == 0 else text


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def by_horizon(
    skill: Skill,
    heads: Sequence[str],
    cells: _Cells,
    *,
    sources: Sequence[Source] | None = None,
    horizons: Sequence[int] | None = None,
    corner: str = "",
) -> Table:
    """A row a source; for each horizon the columns `heads`, filled by `cells`."""
    chosen = skill.horizons if horizons is None else horizons
    rows = [
        Row(
            label=source.name,
            cells=[
                Cell(text=cell.text, classes=f"{cell.classes} edge".strip() if not at else
                     cell.classes)
                for h in chosen
                for at, cell in enumerate(cells(source, h))
            ],
            classes=_row_class(skill, source),
        )
        for source in (skill.sources if sources is None else sources)
    ]  # fmt: skip
    columns = [
        Column(text=head, classes="" if at else "edge")
        for _ in chosen
        for at, head in enumerate(heads)
    ]
    groups = [ColumnGroup(text=counted(h, "bar"), columns=len(heads)) for h in chosen]
    return Table(columns=columns, rows=rows, corner=corner, groups=groups, classes=CLASSES)


def _row_class(skill: Skill, source: Source) -> str:
    """Models bold; a line where another kind begins."""
    place = skill.sources.index(source)
    new = place > 0 and skill.sources[place - 1].kind != source.kind
    return " ".join(filter(None, ["group" if new else "", "main" if source.kind == MODEL else ""]))


def crps_table(skill: Skill) -> Table:
    has_sets = any(skill.span["confidence_set"].values())
    heads = ("CRPS", "p of set") if has_sets else ("CRPS",)

    def cells(source: Source, h: int) -> list[Cell]:
        found = [Cell(text=shown(skill.figures(source.name, h)["crps"], small_percent))]
        if has_sets:
            p = skill.in_set(source.name, h)
            found.append(Cell(text=shown(p, p_value), classes=_tint(p, IN_SET, up_only=True)))
        return found

    return by_horizon(skill, heads, cells)


def against_table(skill: Skill, model: str, loss: str) -> Table:
    """How much lower a model's loss is than each other source's, with its t and p."""
    others = [
        source
        for source in skill.sources
        if source.name != model and not (loss == "energy" and source.kind == SIGNAL)
    ]

    def cells(source: Source, h: int) -> list[Cell]:
        against = skill.against(model, source.name, h, loss)
        return [
            Cell(
                text=shown(against["skill_pct"], lower_by),
                classes=_tint(against["t"], SURE_T),
            ),
            Cell(text=shown(against["t"], signed_tenths)),
            Cell(text=shown(against["p"], p_value)),
        ]

    return by_horizon(
        skill, ("lower by", "t", "p"), cells, sources=others, corner=f"{model} against"
    )


def bands_table(skill: Skill) -> Table:
    """Shares held by the central bands one bar ahead and at the last one; of the 90 % band also the
    least and the most over a year, where there are whole years."""
    levels = [str(level) for level in skill.record["levels_pct"]]
    by_year = has_years(skill)

    def cells(source: Source, h: int) -> list[Cell]:
        figures = skill.figures(source.name, h)
        shares = [
            Cell(
                text=shown(figures["inside"][level], share),
                classes=_off(figures["inside"][level], right_share(int(level), source.samples)),
            )
            for level in levels
        ]
        return [*shares, Cell(text=_span(figures["years_90"]))] if by_year else shares

    heads = [f"{level} %" for level in levels] + ["90 % in a year"] * by_year
    return by_horizon(skill, heads, cells, horizons=_ends(skill))


def has_years(skill: Skill) -> bool:
    """Whether there is a whole year of dates; folders of before do not say."""
    return any(
        skill.figures(source.name, h).get("years_90")
        for source in skill.sources
        for h in _ends(skill)
    )


def _span(shares: Sequence[float] | None) -> str:
    if shares is None:
        return shown(None, share)
    least, most = shares
    return f"{100 * least:.1f} to {share(most)}"


def right_share(level_pct: int, samples: int) -> float:
    """What a band should hold: its level, or what so many samples can reach."""
    return min(level_pct / 100, (samples - 1) / (samples + 1))


def _ends(skill: Skill) -> list[int]:
    """The first and the last horizon."""
    return list(dict.fromkeys([skill.horizons[0], skill.headline]))


def brier_table(skill: Skill) -> Table:
    def cells(source: Source, h: int) -> list[Cell]:
        return [Cell(text=shown(skill.figures(source.name, h)["brier"], "{:.4f}".format))]

    return by_horizon(skill, ("Brier score",), cells)


def volatility_table(skill: Skill) -> Table:
    def cells(source: Source, h: int) -> list[Cell]:
        found = skill.figures(source.name, h)["volatility"]
        return [
            Cell(text=shown(found["mae"], small_percent)),
            Cell(text=shown(found["r2"], signed_ratio)),
            Cell(text=shown(found["qlike"], "{:.3f}".format)),
            Cell(text=shown(_ratio(found), "{:.2f}".format)),
        ]

    return by_horizon(skill, ("MAE", "R²", "QLIKE", "said / came"), cells, horizons=_ends(skill))


def _ratio(found: Figures) -> float | None:
    return found["said"] / found["came"] if found["said"] is not None and found["came"] else None


def energy_table(skill: Skill) -> Table:
    whole_candles = [source for source in skill.sources if source.kind != SIGNAL]

    def cells(source: Source, h: int) -> list[Cell]:
        return [Cell(text=shown(skill.figures(source.name, h)["energy"], small_percent))]

    return by_horizon(skill, ("Energy score",), cells, sources=whole_candles)


def decay_table(skill: Skill) -> Table:
    """IC and rank IC by horizon."""

    def cells(source: Source, h: int) -> list[Cell]:
        figures = skill.figures(source.name, h)
        return [with_t(figures[name], signed_thousandths) for name in ("ic", "rank_ic")]

    return by_horizon(skill, ("IC (t)", "rank IC (t)"), cells)


def ranking_table(skill: Skill) -> Table:
    """All that is known of the order of symbols, at the last horizon."""
    heads = (
        "IC (t)", "rank IC (t)", "IC left (t)", "rank IC left (t)", "spread (t)", "top replaced",
        "dates", "needed: rank IC", "needed: spread",
    )  # fmt: skip
    rows = []
    for source in skill.sources:
        figures = skill.figures(source.name, skill.headline)
        cells = [
            with_t(figures["ic"], signed_thousandths),
            with_t(figures["rank_ic"], signed_thousandths),
            with_t(figures["own_ic"], signed_thousandths),
            with_t(figures["own_rank_ic"], signed_thousandths),
            with_t(figures["spread"], lambda value: signed_fine_percent(100 * value)),
            Cell(text=shown(figures["turnover"], share)),
            Cell(text=f"{figures['rank_ic']['dates']:,}", classes="edge"),
            Cell(text=shown(figures["rank_ic"]["dates_needed"], whole)),
            Cell(text=shown(figures["spread"]["dates_needed"], whole)),
        ]
        rows.append(Row(label=source.name, cells=cells, classes=_row_class(skill, source)))
    columns = [Column(text=head, classes="edge" if head == "dates" else "") for head in heads]
    return Table(columns=columns, rows=rows, classes=CLASSES)


def rank_lead_table(skill: Skill, model: str) -> Table:
    """How much higher a model's rank IC is than each other source's, on the same dates."""
    others = [source for source in skill.sources if source.name != model]

    def cells(source: Source, h: int) -> list[Cell]:
        return [with_t(skill.against(model, source.name, h, "rank_ic"), signed_thousandths)]

    return by_horizon(
        skill, ("rank IC above (t)",), cells, sources=others, corner=f"{model} against"
    )


def with_t(mean: Figures, text: Callable[[float], str]) -> Cell:
    """A mean over dates with its t in brackets."""
    if mean["mean"] is None:
        return Cell(text=NOTHING)
    t = "" if mean["t"] is None else f" ({shown(mean['t'], signed_tenths)})"
    return Cell(text=f"{shown(mean['mean'], text)}{t}", classes=_tint(mean["t"], SURE_T))


def parts_table(skill: Skill, model: str) -> Table:
    """A model by span, year and volatility regime, at the last horizon."""
    heads = ("dates", "CRPS", f"below {RANDOM_WALK}", "90 % held", "volatility error below",
             "rank IC (t)")  # fmt: skip
    rows = []
    for nth, (label, found) in enumerate(_parts(skill)):
        own, walk = found[model], found[RANDOM_WALK]
        cells = [
            Cell(text=f"{own['dates']:,}"),
            Cell(text=shown(own["crps"], small_percent)),
            Cell(text=shown(_lower(own["crps"], walk["crps"]), lower_by)),
            Cell(text=shown(own["inside_90"], share)),
            Cell(
                text=shown(_lower(own["volatility_error"], walk["volatility_error"]), lower_by)
            ),
            with_t(own["rank_ic"], signed_thousandths),
        ]  # fmt: skip
        group = (
            "group" if nth and label in (_first(skill, "years"), _first(skill, "regimes")) else ""
        )
        rows.append(Row(label=label, cells=cells, classes=group))
    return Table(
        columns=[Column(text=head) for head in heads], rows=rows, corner=model, classes=CLASSES
    )


def _first(skill: Skill, split: str) -> str:
    return next((label for label, _ in _of_split(skill, split)), "")


def _parts(skill: Skill) -> list[tuple[str, Mapping[str, Any]]]:
    """The parts of all splits, each with its figures by source."""
    names = {"whole": "all dates", "unseen": "after the model's data", "seen": "maybe seen",
             "after_tuning": "after tuning"}  # fmt: skip
    spans = skill.record["spans"]
    headline = str(skill.headline)
    found = [
        (names[span], {source: _of_span(by_h[headline])
                       for source, by_h in spans[span]["figures"].items()})
        for span in names
        if span in spans and (span == "whole" or spans[span]["dates"] < spans["whole"]["dates"])
    ]  # fmt: skip
    return found + _of_split(skill, "years") + _of_split(skill, "regimes")


def _of_split(skill: Skill, split: str) -> list[tuple[str, Mapping[str, Any]]]:
    suffix = " market" if split == "regimes" else ""
    return [(f"{part}{suffix}", found) for part, found in skill.record[split].items()]


def _of_span(figures: Figures) -> dict[str, Any]:
    return {
        "dates": figures["dates"], "crps": figures["crps"], "inside_90": figures["inside"]["90"],
        "volatility_error": figures["volatility"]["mae"], "rank_ic": figures["rank_ic"],
    }  # fmt: skip


def symbols_table(skill: Skill) -> Table:
    """Every symbol, the best against the random walk first; of many only the ends."""
    by_symbol = skill.record["by_symbol"]
    walk, first = by_symbol[RANDOM_WALK], skill.models[0]
    leads = {s: _lower(own["crps"], walk[s]["crps"]) for s, own in by_symbol[first].items()}
    order = sorted(leads, key=lambda symbol: -(leads[symbol] or 0.0))
    if len(order) > MOST_SYMBOLS:
        order = order[:SHOWN_SYMBOLS] + order[-SHOWN_SYMBOLS:]
    heads = ("CRPS", f"below {RANDOM_WALK}", "90 % held")
    rows = [
        Row(
            label=symbol,
            cells=[
                Cell(text=f"{by_symbol[first][symbol]['forecasts']:,}"),
                *(
                    cell
                    for model in skill.models
                    for cell in _symbol_cells(by_symbol[model][symbol], walk[symbol])
                ),
            ],
            classes="group" if len(leads) > MOST_SYMBOLS and nth == SHOWN_SYMBOLS else "",
        )
        for nth, symbol in enumerate(order)
    ]
    columns = [Column(text="forecasts")] + [
        Column(text=head, classes="" if at else "edge")
        for _ in skill.models
        for at, head in enumerate(heads)
    ]
    groups = [ColumnGroup(text="", columns=1)] + [
        ColumnGroup(text=model, columns=len(heads)) for model in skill.models
    ]
    return Table(columns=columns, rows=rows, corner="Symbol", groups=groups, classes=CLASSES)


def _symbol_cells(own: Figures, walk: Figures) -> list[Cell]:
    return [
        Cell(text=shown(own["crps"], small_percent), classes="edge"),
        Cell(text=shown(_lower(own["crps"], walk["crps"]), lower_by)),
        Cell(text=shown(own["inside_90"], share)),
    ]


def _lower(own: float | None, other: float | None) -> float | None:
    """By how many per cent."""
    return None if own is None or not other else 100 * (1 - own / other)


def _tint(value: float | None, limit: float, *, up_only: bool = False) -> str:
    """A class of page.css: green beyond the limit, red beyond it on the other side."""
    if value is None or abs(value) < limit:
        return ""
    if value > 0:
        return "up"
    return "" if up_only else "down"


def _off(held: float | None, right: float) -> str:
    return "down" if held is not None and abs(held - right) > BAND_OFF else ""
