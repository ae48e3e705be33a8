"""The tables of an account that follow from its bars: their rows, written and compared.

The account itself needs none of them. Whoever reads the file does, so that it is looked whether
they still say what the bars lead to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from sandbox.errors import AccountError
from sandbox.trading.engine import Position, Step
from sandbox.trading.orders import Waiting

if TYPE_CHECKING:
    from sandbox.paper.account import AccountFile

# By table: its columns, and in what order its rows were written or, for what is now, are compared.
GROWING: Mapping[str, tuple[str, str]] = {
    "fills": (
        "time_ns, symbol, side, size, price, reference_price, commission, slippage, impact", "id",
    ),
    "decisions": ("time_ns, symbol, side, size, kind, price", "id"),
    "equity": ("time_ns, cash, value, gross_value", "time_ns"),
}  # fmt: skip
NOW: Mapping[str, tuple[str, str]] = {
    "positions": ("symbol, size, price, close", "symbol"),
    "orders": ("time_ns, symbol, side, size, kind, price", "id"),
}
TABLES = {**GROWING, **NOW}
Rows = Mapping[str, list[tuple[Any, ...]]]


def rows_of(step: Step) -> Rows:
    """What one bar adds, by table."""
    assert step.close is not None
    return {
        "fills": [
            _row(f.time_ns, f.symbol, f.side, abs(f.size), f.price, f.reference_price,
                 f.commission, f.slippage, f.impact)
            for f in step.fills
        ],
        "decisions": [
            _row(d.time_ns, d.symbol, d.side, d.size, d.kind, d.price) for d in step.decisions
        ],
        "equity": [_row(*step.close)],
    }  # fmt: skip


def rows_now(positions: Iterable[Position], waiting: Iterable[Waiting]) -> Rows:
    """What takes the place of the rows of before, by table."""
    return {
        "positions": sorted(_row(*position) for position in positions),
        "orders": [_row(w.given_ns, w.symbol, w.side, w.size, w.kind, w.price) for w in waiting],
    }


class Comparison:
    """The rows that an account holds, beside those that its bars lead to; a context manager."""

    def __init__(self, account: AccountFile) -> None:
        self._account = account
        self._rows = {table: account.rows(table) for table in GROWING}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for rows in self._rows.values():
            rows.close()  # nothing is read on while the account is written

    def expect(self, step: Step) -> None:
        """Raises AccountError where the next rows are not those of this bar."""
        for table, rows in rows_of(step).items():
            for row in rows:
                if next(self._rows[table], None) != row:
                    raise self._damaged(table)

    def expect_no_more(self, positions: Sequence[Position], waiting: Sequence[Waiting]) -> None:
        """Raises AccountError where there are more rows, or what is held or waits now differs."""
        for table, left in self._rows.items():
            if next(left, None) is not None:
                raise self._damaged(table)
        for table, rows in rows_now(positions, waiting).items():
            if list(self._account.rows(table)) != rows:
                raise self._damaged(table)

    def _damaged(self, table: str) -> AccountError:
        return AccountError(
            f"{self._account.path} is damaged: its table {table} is not what its bars lead to; "
            "move it away to open a new account; it was left as it is"
        )


def _row(*values: Any) -> tuple[Any, ...]:
    """As it comes back from the file, which has no NaN."""
    return tuple(
        None if isinstance(value, float) and math.isnan(value) else value for value in values
    )
