"""fills.html: every fill of a run in a table that can be sorted and filtered.

Its JSON block has one list a column, as `assets/fills.js` reads them: `time`, `portfolio` and
`symbol` are indices into `times` (Unix seconds), `portfolios` and `symbols`; `sell` is 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.folder import PARTS, Run
from reports.formats import counted, minus_signs, price, size
from reports.sweeps import subjects

FILE = "fills.html"
MOST_FILLS = 50_000  # some 80 bytes each; the rest is in trades.csv alone
DIGITS = 8  # significant ones, of each number
STILL_ROWS = 100  # of the table that stands without JavaScript
COLUMNS = {
    "time": "Time", "portfolio": "Portfolio", "symbol": "Symbol", "side": "Side", "size": "Size",
    "price": "Price", "reference": "Reference", "traded": "Traded", "commission": "Commission",
    "slippage": "Slippage", "impact": "Impact", "costs": "Costs",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FillsView:
    title: str
    facts: str
    left_out: str  # which fills are not on the page; "": all are
    portfolios: Sequence[str]
    symbols: Sequence[str]
    columns: Mapping[str, str]  # name -> heading
    rows: Sequence[Sequence[str]]  # the newest ones of the first portfolio


def fills_page(run: Run) -> tuple[FillsView, dict[str, Any]]:
    """What the template shows, and the JSON block."""
    fills, left_out = _chosen(run)
    portfolios = list(fills["strategy"].cat.categories)
    symbols = sorted(fills["symbol"].unique())
    view = FillsView(
        title=" and ".join(p.name for p in subjects(run)),
        facts=f"{counted(len(fills), 'fill')} of {counted(len(portfolios), 'portfolio')}",
        left_out=left_out,
        portfolios=portfolios,
        symbols=symbols,
        columns=COLUMNS,
        rows=_newest(fills, portfolios),
    )
    return view, _columns(fills, portfolios, symbols)


def _chosen(run: Run) -> tuple[pd.DataFrame, str]:
    """Fills of as many portfolios as the page can hold, strategies first; and what is left out.

    The portfolio is a category, in the order in which portfolios are offered.
    """
    front = [p.name for p in subjects(run)]
    order = dict.fromkeys([*front, *(p.name for p in run.portfolios)])
    counts = run.trades["strategy"].value_counts()
    chosen: list[str] = []
    room = MOST_FILLS
    for name in order:
        if 0 < counts.get(name, 0) <= room:
            chosen.append(name)
            room -= counts[name]
    fills = run.trades[run.trades["strategy"].isin(chosen)]
    left_out = len(run.trades) - len(fills)
    fills = fills.assign(strategy=pd.Categorical(fills["strategy"], chosen))
    text = f"{counted(left_out, 'fill')} of other portfolios are in trades.csv alone."
    return fills, text if left_out else ""


def _columns(
    fills: pd.DataFrame, portfolios: Sequence[str], symbols: Sequence[str]
) -> dict[str, Any]:
    time_index, times = pd.factorize(fills["time"])
    numbers = {"size": fills["size"].abs(), "price": fills["price"]}
    numbers |= {"reference": fills["reference_price"]} | {part: fills[part] for part in PARTS}
    return {
        "times": pd.DatetimeIndex(times).as_unit("s").asi8.tolist(),
        "portfolios": list(portfolios),
        "symbols": list(symbols),
        "time": time_index.tolist(),
        "portfolio": fills["strategy"].cat.codes.tolist(),
        "symbol": pd.Index(symbols).get_indexer(pd.Index(fills["symbol"])).tolist(),
        "sell": (fills["side"] == "sell").astype(int).tolist(),
        **{name: _short(column.to_numpy(dtype=float)) for name, column in numbers.items()},
    }


def _short(numbers: np.ndarray) -> list[float]:
    """Rounded to DIGITS significant digits; whole numbers as integers, which are shorter."""
    known = np.where(numbers == 0, 1.0, np.abs(numbers))
    scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(known)))
    rounded = np.round(numbers * scale) / scale
    return [int(n) if n.is_integer() and abs(n) < 1e15 else n for n in rounded.tolist()]


def _newest(fills: pd.DataFrame, portfolios: Sequence[str]) -> list[list[str]]:
    """Texts of the last fills of the first portfolio, newest first."""
    if not portfolios:
        return []
    mine = fills[fills["strategy"] == portfolios[0]].iloc[::-1][:STILL_ROWS]
    # as the script sorts: newest first, and within a bar in the order of trades.csv
    mine = mine.iloc[::-1].sort_values("time", ascending=False, kind="stable")
    return [_texts(row) for row in mine.to_dict("records")]


def _texts(row: Mapping[Any, Any]) -> list[str]:
    amounts = [abs(row["size"]) * row["price"], *(row[part] for part in PARTS)]
    amounts.append(sum(row[part] for part in PARTS))
    numbers = [size(abs(row["size"])), price(row["price"]), price(row["reference_price"])]
    numbers += [f"{amount:,.2f}" for amount in amounts]
    texts = [f"{row['time']:%Y-%m-%d %H:%M}", str(row["strategy"]), row["symbol"], row["side"]]
    return texts + list(map(minus_signs, numbers))
