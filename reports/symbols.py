"""Tables by symbol: gains and losses, what trading cost, and what is held at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.folder import Run
from reports.formats import (
    Format,
    fine_percent,
    price,
    shown,
    signed_percent,
    signed_whole,
    size,
    whole,
)
from reports.holdings import SymbolResult, results_by_symbol
from reports.tables import Cell, Column, Row, Table

MOST_GAINS = 10  # and as many losses
MOST_ROWS = 20  # of costs and of holdings; the rest is one row


@dataclass(frozen=True, kw_only=True)
class SymbolTables:
    """What a portfolio did in its symbols. `total_gain`: of all of them, in words."""

    gains: Table | None  # None: no symbol gained
    losses: Table | None
    costs: Table | None  # None: nothing was paid
    holdings: Table | None  # None: all is cash
    sentence: str


def symbol_tables(run: Run, name: str) -> SymbolTables | None:
    """None: the portfolio never traded."""
    results = results_by_symbol(run, name)
    if not results:
        return None
    by_gain = sorted(results, key=lambda result: -result.gain)
    held = [result for result in results if result.weight]
    return SymbolTables(
        gains=_gains_table("Largest gains", [r for r in by_gain if r.gain > 0][:MOST_GAINS]),
        losses=_gains_table(
            "Largest losses", [r for r in by_gain[::-1] if r.gain < 0][:MOST_GAINS]
        ),
        costs=_costs_table(results),
        holdings=_holdings_table(run, name, sorted(held, key=lambda r: -abs(r.weight))),
        sentence=_sentence(results),
    )


def _sentence(results: Sequence[SymbolResult]) -> str:
    realised, unrealised = (
        sum(getattr(result, part) for result in results) for part in ("realised", "unrealised")
    )
    gained = sum(result.gain > 0 for result in results)
    return (
        f"{gained:,} of {len(results):,} symbols gained. All together: "
        f"{shown(realised + unrealised, signed_whole)}, of which {shown(realised, signed_whole)} "
        f"realised and {shown(unrealised, signed_whole)} on what is still held."
    )


def _gains_table(corner: str, results: Sequence[SymbolResult]) -> Table | None:
    columns: Sequence[tuple[str, str, Format]] = (
        ("Gain", "gain", signed_whole),
        ("realised", "realised", signed_whole),
        ("unrealised", "unrealised", signed_whole),
        ("Costs", "costs", whole),
        ("Fills", "fills", whole),
    )
    return _table(corner, columns, results) if results else None


_COST_COLUMNS: Sequence[tuple[str, str, Format]] = (
    ("Costs", "costs", whole),
    ("commission", "commission", whole),
    ("slippage", "slippage", whole),
    ("impact", "impact", whole),
    ("Traded", "traded", whole),
    ("bps of it", "costs_bps", lambda value: f"{value:.1f}"),
)


@dataclass(frozen=True, kw_only=True)
class _CostSums:
    """Costs of a symbol, or of several."""

    symbol: str
    costs: float
    commission: float
    slippage: float
    impact: float
    traded: float

    @property
    def costs_bps(self) -> float | None:
        return 10_000 * self.costs / self.traded if self.traded else None


def _summed(label: str, results: Sequence[SymbolResult]) -> _CostSums:
    names = ("costs", "commission", "slippage", "impact", "traded")
    return _CostSums(
        symbol=label, **{name: sum(getattr(result, name) for result in results) for name in names}
    )


def _costs_table(results: Sequence[SymbolResult]) -> Table | None:
    """Dearest first, and all together."""
    if not any(result.costs for result in results):
        return None
    dearest = sorted(results, key=lambda result: -result.costs)
    rows = [_summed(result.symbol, [result]) for result in dearest[:MOST_ROWS]]
    if dearest[MOST_ROWS:]:
        rest = dearest[MOST_ROWS:]
        rows.append(_summed(f"{len(rest)} other symbols", rest))
    table = _table("Costs by symbol", _COST_COLUMNS, rows)
    total = _row(_summed("all", results), _COST_COLUMNS, "group main")
    return Table(
        columns=table.columns, rows=[*table.rows, total], corner=table.corner, classes="small"
    )


def _holdings_table(run: Run, name: str, held: Sequence[SymbolResult]) -> Table | None:
    """Largest first, and the cash."""
    if not held:
        return None
    columns = [
        Column(text=text) for text in ("Share", "Value", "Size", "Price", "Cost a unit", "Gain")
    ]
    rows = [_holding_row(result) for result in held[:MOST_ROWS]]
    value, cash = (float(frame[name].iloc[-1]) for frame in (run.value, run.cash))
    rest = held[MOST_ROWS:]
    if rest:
        rows.append(_money_row(f"{len(rest)} other symbols", sum(r.value for r in rest), value, ""))
    rows.append(_money_row("cash", cash, value, "group"))
    corner = f"Held at {run.times[-1]:%Y-%m-%d}"
    return Table(columns=columns, rows=rows, corner=corner, classes="small")


def _holding_row(result: SymbolResult) -> Row:
    has_size = bool(result.size)
    texts = (
        shown(100 * result.weight, signed_percent if result.weight < 0 else fine_percent),
        shown(result.value, whole),
        shown(result.size, size) if has_size else shown(None, size),
        shown(result.value / result.size if has_size else None, price),
        shown(result.cost / result.size if has_size else None, price),
        shown(result.unrealised, signed_whole),
    )
    return Row(label=result.symbol, cells=[Cell(text=text) for text in texts])


def _money_row(label: str, money: float, value: float, classes: str) -> Row:
    share = 100 * money / value if value else None
    texts = (shown(share, fine_percent), shown(money, whole), "", "", "", "")
    return Row(label=label, cells=[Cell(text=text) for text in texts], classes=classes)


def _table(
    corner: str,
    columns: Sequence[tuple[str, str, Format]],
    results: Sequence[SymbolResult | _CostSums],
) -> Table:
    return Table(
        columns=[Column(text=heading) for heading, _, _ in columns],
        rows=[_row(result, columns) for result in results],
        corner=corner,
        classes="small",
    )


def _row(
    result: SymbolResult | _CostSums,
    columns: Sequence[tuple[str, str, Format]],
    classes: str = "",
) -> Row:
    cells = [Cell(text=shown(getattr(result, name), text)) for _, name, text in columns]
    return Row(label=result.symbol, cells=cells, classes=classes)
