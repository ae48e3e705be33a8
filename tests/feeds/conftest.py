"""Builders of candles with complete defaults, so that a test states only what matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

MakeTable: TypeAlias = Callable[..., pd.DataFrame]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "wheels: needs two wheels from the package index")


def candle_table(bars: int = 5, **columns: Any) -> pd.DataFrame:
    """A good table [bars] as a user's file holds it: date and six columns; `columns` override."""
    step = np.arange(bars, dtype=np.float64)
    table: dict[str, Any] = {
        "date": pd.date_range("2024-01-01", periods=bars).strftime("%Y-%m-%d"),
        "open": 100 + step,
        "high": 103 + step,
        "low": 99 + step,
        "close": 102 + step,
        "volume": 1000 + step,
        "amount": 101_000 + step,
    }
    return pd.DataFrame(table | columns)


@pytest.fixture(scope="session")
def table() -> MakeTable:
    """The builder `candle_table`."""
    return candle_table
