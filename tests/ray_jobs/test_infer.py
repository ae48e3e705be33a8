"""`python -m ray_jobs.infer`: forecasts of a universe in the store, a piece at a time in memory."""

import json
import weakref

import numpy as np
import pytest

from feeds import bar_times
from ray_jobs.infer import main
from sandbox.config import Sampling
from sandbox.errors import WorkerError
from sandbox.forecast.sources import KronosSource
from sandbox.run.__main__ import main as run
from sandbox.run.job import ROOT
from sandbox.store.sets import ForecastStore
from tests.conftest import make_checkpoint, make_market, write_no_report

OPTIONS = ["--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--end", "2021-02-26",
           "--lookback", "20", "--samples", "4"]  # fmt: skip
LOCAL = ["--backend", "local"]
SAMPLING = Sampling(lookback=20, horizon=2, samples=3)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.usefixtures("fake_model")
def test_a_run_finds_all_that_was_inferred(capsys, monkeypatch, tmp_path):
    assert main([*OPTIONS, *LOCAL]) == 0
    assert "76 forecasts computed, 0 were in the store" in capsys.readouterr().out
    figures = {"seen_until": None, "portfolios": {}, "verdicts": {}}
    write_no_report(
        monkeypatch, lambda folder: (folder / "metrics.json").write_text(json.dumps(figures))
    )
    topk = str(ROOT / "strategies" / "topk.py")
    assert run([topk, *OPTIONS, "--no-controls", "--param", "rebalance=bar", "--out", "x"]) == 0
    assert "\n0 forecasts computed" in (tmp_path / "x" / "log.txt").read_text()


@pytest.mark.usefixtures("fake_model")
def test_what_is_there_is_not_computed_again(capsys):
    assert main([*OPTIONS, *LOCAL, "--every", "2"]) == 0
    assert "38 forecasts computed, 0 were in the store" in capsys.readouterr().out
    assert main([*OPTIONS, *LOCAL]) == 0
    assert "38 forecasts computed, 38 were in the store" in capsys.readouterr().out
    assert main([*OPTIONS, *LOCAL]) == 0
    assert "0 forecasts computed, 76 were in the store" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--every", "0"], 2, "error: --every 0: at least 1"),
        (["--store", "none"], 2, "error: --store none: forecasts that are kept nowhere"),
        (["--start", "2031-01-01", "--end", "2031-02-01"], 1, "error: no candles from 2031-01-01"),
        (["--backend", "rya"], 2, "error: --backend 'rya': no such backend"),
        (["--ray-address", "ray://x:1"], 2, "error: --ray-address ray://x:1: a client's address"),
    ],
)
def test_wrong_options_are_one_line(capsys, options, status, text):
    assert main([*OPTIONS, *options]) == status
    assert last_line(capsys).startswith(text)


class Pieces:
    """A backend of constant paths, which knows how many of its pieces somebody still holds."""

    def __init__(self, size, fails_after=None):
        self._size, self._fails_after = size, fails_after
        self.most_alive = 0

    def sample(self, windows, sampling, tell):
        alive = weakref.WeakSet()
        for nth, first in enumerate(range(0, len(windows), self._size)):
            if nth == self._fails_after:
                raise WorkerError("the cluster is gone")
            rows = np.arange(first, min(first + self._size, len(windows)))
            paths = Piece((len(rows), sampling.samples, sampling.horizon, 6), np.float32)
            paths[:] = 1.0
            alive.add(paths)
            yield rows, paths
            self.most_alive = max(self.most_alive, len(alive))


class Piece(np.ndarray):
    """An array that can be looked after."""

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other


def fill(backend, store):
    frames = make_market("ABC", 60)
    source = KronosSource(make_checkpoint(), store=ForecastStore(store), backend=backend)
    return source.fill_store(frames, SAMPLING, bar_times(frames))


def test_no_piece_is_held_once_it_is_kept(tmp_path):
    backend = Pieces(10)
    assert fill(backend, tmp_path / "store").computed == 3 * 41
    assert backend.most_alive <= 2  # the one in hand, and the one before it


def test_what_was_done_before_an_error_is_kept(tmp_path):
    with pytest.raises(WorkerError, match="the cluster is gone"):
        fill(Pieces(10, fails_after=4), tmp_path / "store")
    filled = fill(Pieces(10), tmp_path / "store")
    assert (filled.reused, filled.computed) == (40, 3 * 41 - 40)
