"""Small markets, strategies run on them, and a stand-in for the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feeds import bar_times
from sandbox.forecast.timetable import CACHE
from sandbox.trading.broker import Account
from sandbox.trading.engine import Backtest, Setup, run_backtest
from sandbox.trading.source import FrameSource

FREE = Account(cash=10_000.0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sessions of exchanges are kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
        yield


def make_frame(
    bars: Sequence[Sequence[float]],
    days: Sequence[str] | str,
    volume: float | Sequence[float] = 1000.0,
) -> pd.DataFrame:
    """Candles from rows of (open, high, low, close), on given days or from a day on, at 21:00."""
    if isinstance(days, str):
        index = pd.bdate_range(days, periods=len(bars), tz="UTC")
    else:
        index = pd.DatetimeIndex(list(days), tz="UTC")
    frame = pd.DataFrame(bars, columns=["open", "high", "low", "close"], dtype=float)
    frame["volume"] = np.broadcast_to(np.asarray(volume, float), len(frame))
    frame["amount"] = frame["volume"] * frame["close"]
    return frame.set_index(index + pd.Timedelta(hours=21))


def make_market(symbols: Sequence[str], bars: int, seed: int = 1) -> dict[str, pd.DataFrame]:
    """Random walks, all on the same weekdays from 2023-01-02."""
    generator = np.random.default_rng(seed)
    market = {}
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(generator.normal(0, 0.02, bars)))
        open_ = close * np.exp(generator.normal(0, 0.005, bars))
        high, low = np.maximum(open_, close) * 1.003, np.minimum(open_, close) * 0.997
        market[symbol] = make_frame(np.column_stack([open_, high, low, close]), "2023-01-02")
    return market


def make_run(
    frames: Mapping[str, pd.DataFrame], strategy: Any, account: Account = FREE, **more: Any
) -> Backtest:
    """A backtest over all the bars, with defaults for what a test does not care about."""
    times = bar_times(frames)
    start, end = more.pop("start", times[0]), more.pop("end", times[-1])
    window = {name: more.pop(name) for name in ("opens", "warmup_bars") if name in more}
    hooks = {name: more.pop(name) for name in ("before_bar", "on_bar") if name in more}
    setup = Setup(strategy=strategy, account=account, start=start, **{"name": "test"} | more)
    return run_backtest(FrameSource(frames, start, end, **window), setup, **hooks)


class FakePredictor:
    """Paths that go on as the window went, with a spread drawn from the key alone."""

    def __init__(self) -> None:
        self.asked: list[int] = []  # how many forecasts each call wanted

    def sample_paths(
        self,
        x: np.ndarray,
        x_stamp: np.ndarray,
        y_stamp: np.ndarray,
        keys: Sequence[int],
        *,
        sample_count: int,
        seed: int,
        progress: Callable[[int], None] | None,
        **_: float,
    ) -> np.ndarray:
        assert x_stamp.shape == (*x.shape[:2], 5)
        assert len(keys) == len(x) == len(y_stamp)
        self.asked.append(len(x))
        bars = y_stamp.shape[1]
        drift = np.log(x[:, -1, 3] / x[:, 0, 3]) / x.shape[1]
        paths = np.empty((len(x), sample_count, bars, 6), dtype=np.float32)
        for nth, key in enumerate(keys):
            spread = np.random.default_rng([key, seed]).normal(0, 0.01, (sample_count, bars))
            close = x[nth, -1, 3] * np.exp(np.cumsum(drift[nth] + spread, axis=1))
            paths[nth, :, :, :4] = close[:, :, None]
            paths[nth, :, :, 4:] = x[nth, -1, 4:]
        if progress:
            progress(len(x) - 1)
            progress(1)
        return paths


def make_checkpoint(seen_until: date | None = date(2018, 12, 31)) -> SimpleNamespace:
    """A checkpoint whose one predictor counts in `asked` what it was asked for."""
    model = FakePredictor()
    return SimpleNamespace(
        name="fake",
        fingerprint="0123456789abcdef" * 4,
        max_context=512,
        seen_until=seen_until,
        predictor=lambda **_: model,
        asked=model.asked,
    )


@pytest.fixture
def candles() -> Callable[..., pd.DataFrame]:
    return make_frame


@pytest.fixture
def market() -> Callable[..., dict[str, pd.DataFrame]]:
    return make_market


@pytest.fixture
def trade() -> Callable[..., Backtest]:
    return make_run


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`kronos.find` and `kronos.load` answer every name with a stand-in."""
    import kronos

    checkpoint = make_checkpoint()
    for name in ("find", "load"):
        monkeypatch.setattr(kronos, name, lambda _: checkpoint)
    return checkpoint


def write_no_report(patch: pytest.MonkeyPatch, write: Callable[[Path], object]) -> None:
    """Have runs call `write` with their folder instead of the report, which takes seconds."""
    from sandbox.run import job

    patch.setattr(job, "write_report", lambda folder, _: write(folder))
    patch.setattr(job, "start_report", nullcontext)
