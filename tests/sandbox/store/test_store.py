"""What was forecast once is read back, unless anything it was computed from has changed."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.config import Sampling
from sandbox.errors import StoreError
from sandbox.forecast import backend as backend_module
from sandbox.forecast.backend import LocalBackend
from sandbox.forecast.sources import KronosSource
from sandbox.store import sets as store_module
from sandbox.store.sets import ForecastStore
from tests.conftest import FakePredictor, make_checkpoint, make_market

ROOT = Path(__file__).resolve().parents[3]
SAMPLING = Sampling(lookback=10, horizon=3, samples=4)
FRAMES = make_market("AB", bars=30)
INDEX = FRAMES["A"].index
EVERY = 2 * 21  # forecasts of both symbols


@pytest.fixture
def store(tmp_path):
    return ForecastStore(tmp_path / "store")


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(backend_module, "WINDOWS_PER_PIECE", 8)


def book_of(store, frames=FRAMES, asofs=INDEX, sampling=SAMPLING, checkpoint=None, **options):
    source = KronosSource(checkpoint or make_checkpoint(), store=store, **options)
    return source.book(frames, sampling, asofs)


def paths_of(book):
    return np.stack([book._paths(nth) for nth in range(len(book))])


def counts(book):
    return book.computed, book.reused


def files(store, suffix):
    return sorted(store.folder.rglob(f"*{suffix}"))


def test_a_second_run_asks_the_model_nothing(store, small_pieces):
    checkpoint = make_checkpoint()
    cold = book_of(store, checkpoint=checkpoint)
    assert counts(cold) == (EVERY, 0)
    assert sum(checkpoint.asked) == EVERY

    def no_model(**_):
        raise AssertionError("the weights were read")

    checkpoint.predictor = no_model
    warm = book_of(store, checkpoint=checkpoint)
    assert counts(warm) == (0, EVERY)
    assert np.array_equal(paths_of(warm), paths_of(cold))
    assert np.array_equal(paths_of(warm), paths_of(book_of(None)))


def test_a_longer_run_computes_what_is_new(store):
    book_of(store, asofs=INDEX[:20])
    longer = book_of(store)
    assert counts(longer) == (20, 22)
    assert np.array_equal(paths_of(longer), paths_of(book_of(None)))
    fewer = book_of(store, frames={"B": FRAMES["B"]}, asofs=INDEX[15:18])
    assert counts(fewer) == (0, 3)


def changed_bar(frames, row, column, factor=1.001):
    frame = frames["A"].copy()
    frame.iloc[row, frame.columns.get_loc(column)] *= factor
    return frames | {"A": frame}


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume", "amount"])
def test_a_changed_bar_is_never_answered_from_an_old_forecast(store, column):
    book_of(store)
    # bar 15 is in the lookbacks of bars 15 to 24
    assert counts(book_of(store, frames=changed_bar(FRAMES, 15, column))) == (10, EVERY - 10)


def test_bars_at_other_times_are_other_bars(store):
    book_of(store)
    shifted = FRAMES["A"].set_index(INDEX + pd.Timedelta(minutes=1))
    book = book_of(store, frames={"A": shifted}, asofs=shifted.index)
    assert counts(book) == (21, 0)


def test_another_name_or_horizon_calendar_is_another_forecast(store):
    book_of(store)
    assert counts(book_of(store, frames={"C": FRAMES["A"]})) == (21, 0)

    class Later:
        def future_times(self, times_ns, horizon):
            return times_ns[:, -1:] + np.arange(1, horizon + 1) * 10**15

    assert counts(book_of(store, frames={"A": FRAMES["A"]}, calendar=Later())) == (21, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"lookback": 9}, {"horizon": 2}, {"samples": 5}, {"temperature": 0.5}, {"top_p": 0.9},
        {"top_k": 3}, {"seed": 1},
    ],
)  # fmt: skip
def test_other_settings_are_another_set(store, change):
    book_of(store)
    sampling = replace(SAMPLING, **change)
    other = book_of(store, sampling=sampling)
    assert counts(other) == (len(other), 0)
    assert len(store.folders()) == 2
    assert counts(book_of(store)) == (0, EVERY)


def test_other_weights_and_another_dtype_are_another_set(store):
    book_of(store)
    other = make_checkpoint()
    other.fingerprint = "f" * 64
    assert counts(book_of(store, checkpoint=other)) == (EVERY, 0)
    assert counts(book_of(store, dtype="bfloat16")) == (EVERY, 0)
    renamed = make_checkpoint()
    renamed.name = "the same weights in another folder"
    assert counts(book_of(store, checkpoint=renamed)) == (0, EVERY)


def test_settings_are_written_down(store):
    book_of(store)
    [folder] = store.folders()
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["model"] == "fake"
    assert settings["fingerprint"] == make_checkpoint().fingerprint
    assert settings["sampling"]["lookback"] == 10
    assert settings["dtype"] == "float32"
    assert pd.Timestamp(settings["made"]).tz is not None


def test_parts_are_tables_that_anything_reads(store):
    book = book_of(store)
    [part] = files(store, ".parquet")
    table = pd.read_parquet(part)
    assert len(table) == EVERY
    assert table["key"].is_unique
    row = table[(table["symbol"] == "B") & (table["asof"] == INDEX[20])].iloc[0]
    assert row["close"] == FRAMES["B"]["close"].iloc[20]
    assert pd.Timestamp(row["index"][0]) == pd.Timestamp("2023-01-31 21:00")
    nth = book.windows.symbols.index("B") + 11
    shaped = row["paths"].reshape(row["samples"], row["horizon"], 6)
    assert np.array_equal(shaped, book._paths(nth))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def swap(path):
    """A sound table of other forecasts under this name."""
    table = pq.read_table(path)
    at = table.column_names.index("paths")
    paths = pa.array([[0.0] * 72] * len(table), pa.list_(pa.float32()))
    pq.write_table(table.set_column(at, "paths", paths), path)


@pytest.mark.parametrize("damage", [cut, alter, empty, swap])
def test_a_damaged_part_is_told_and_computed_again(store, small_pieces, damage):
    cold = book_of(store)
    victim = files(store, ".parquet")[2]
    had = len(pq.read_table(victim, columns=["key"]))
    damage(victim)
    mended = book_of(store)
    assert counts(mended) == (had, EVERY - had)
    [note] = mended.notes
    assert str(victim) in note
    assert "is left aside and its forecasts are computed again" in note
    assert "\n" not in note
    assert np.array_equal(paths_of(mended), paths_of(cold))
    again = book_of(store)
    assert (counts(again), again.notes) == ((0, EVERY), ())  # the good part took its place


def test_something_else_named_like_a_part_is_left_aside(store):
    book_of(store)
    [folder] = store.folders()
    (folder / "mine.parquet").mkdir()
    (folder / "notes.txt").write_text("kept")
    pq.write_table(pa.table({"x": [1]}), folder / ("0" * 64 + ".parquet"))
    book = book_of(store)
    assert counts(book) == (0, EVERY)
    (folder / "settings.json").write_text("{")
    assert counts(book_of(store)) == (0, EVERY)


def test_a_part_of_another_set_answers_nothing(store):
    book_of(store)
    book_of(store, sampling=replace(SAMPLING, seed=1))
    one, other = store.folders()
    [part] = one.glob("*.parquet")
    for own in other.glob("*.parquet"):
        own.unlink()
    os.replace(part, other / part.name)
    assert counts(book_of(store)) == (EVERY, 0)
    assert counts(book_of(store, sampling=replace(SAMPLING, seed=1))) == (EVERY, 0)


def test_ctrl_c_keeps_what_was_done(store, small_pieces):
    class Interrupted(LocalBackend):
        def sample(self, windows, sampling, tell):
            for nth, piece in enumerate(super().sample(windows, sampling, tell)):
                if nth == 3:
                    raise KeyboardInterrupt
                yield piece

    with pytest.raises(KeyboardInterrupt):
        book_of(store, backend=Interrupted(FakePredictor()))
    assert files(store, ".tmp") == []
    assert counts(book_of(store)) == (EVERY - 24, 24)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_takes_nothing_is_one_clear_line(store, monkeypatch, code, call):
    book_of(store, asofs=INDEX[:12])
    before = files(store, "")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store_module.os, call, refuse)
    with pytest.raises(StoreError, match="the forecast store cannot be written at") as caught:
        book_of(store)
    assert os.strerror(code) in str(caught.value)
    assert "choose another --store folder, or --store none" in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert files(store, "") == before
    assert counts(book_of(store)) == (EVERY - 6, 6)


def test_a_store_where_a_file_is(tmp_path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot be written at .*store/"):
        book_of(ForecastStore(tmp_path / "store"))


def test_a_store_that_can_only_be_read_still_answers(store, monkeypatch):
    book_of(store)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(store_module, "write_whole", refuse)
    assert counts(book_of(store)) == (0, EVERY)


def test_a_store_that_cannot_be_written_is_told_before_the_model_is_asked(store, monkeypatch):
    book_of(store, asofs=INDEX[:20])
    monkeypatch.setattr(store_module.os, "access", lambda *_: False)
    checkpoint = make_checkpoint()
    with pytest.raises(StoreError, match=r"cannot be written at .* \(Permission denied\)"):
        book_of(store, checkpoint=checkpoint)
    assert checkpoint.asked == []
