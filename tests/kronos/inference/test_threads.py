"""How many threads of torch compute: one for little work, and never a bit of difference."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch

from kronos.inference import sampler as sampler_module
from kronos.inference.threads import agreeing_threads, threads
from tests.kronos.conftest import Golden


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def counts(monkeypatch):
    """The number of threads at each draw of a token."""
    seen = []
    draw = sampler_module.draw_tokens

    def watched(*args):
        seen.append(torch.get_num_threads())
        return draw(*args)

    monkeypatch.setattr(sampler_module, "draw_tokens", watched)
    return seen


def predicted(golden: Golden, predictor):
    frame = golden.frames[0].iloc[:40]
    times = golden.times.iloc[:40]
    future = pd.Series(pd.date_range(times.iloc[-1] + pd.Timedelta("1D"), periods=5))
    return predictor.predict(frame, times, future, 5, top_p=1.0, verbose=False, seed=1)


def test_a_single_series_is_computed_with_one_thread_and_the_setting_is_as_it_was(tiny, counts):
    predicted(tiny, tiny.predictor())
    assert set(counts) == {1}
    assert torch.get_num_threads() == 2


def test_much_work_gets_the_caller_s_threads_and_the_same_bits(tiny, counts, monkeypatch):
    little = predicted(tiny, tiny.predictor())
    counts.clear()
    monkeypatch.setattr(sampler_module, "LITTLE_WORK", 0)
    much = predicted(tiny, tiny.predictor())
    assert set(counts) == {2}
    np.testing.assert_array_equal(little.to_numpy(), much.to_numpy())


def test_the_setting_is_as_it_was_after_an_error(tiny, monkeypatch):
    predictor = tiny.predictor()

    def fail(*_):
        raise MemoryError("none left")

    monkeypatch.setattr(sampler_module, "draw_tokens", fail)
    with pytest.raises(MemoryError, match="none left"):
        predicted(tiny, predictor)
    assert torch.get_num_threads() == 2


def test_another_thread_keeps_its_own_number():
    seen, ready, go = [], threading.Event(), threading.Event()

    def work():
        seen.append(torch.get_num_threads())
        ready.set()
        go.wait(10)
        seen.append(torch.get_num_threads())

    other = threading.Thread(target=work)
    other.start()
    ready.wait(10)
    with threads(1):
        go.set()
        other.join()
    assert seen == [2, 2]


def test_a_sampler_serves_one_thread_as_well_as_those_it_was_made_for(tiny):
    predictor = tiny.predictor()
    first = predictor._sampler()
    for count, same in ((1, True), (2, True), (3, False)):
        torch.set_num_threads(count)
        assert (predictor._sampler() is first) is same


class Split:
    """An operand whose sums come out otherwise with more than `most` threads."""

    in_features = out_features = 8

    def __init__(self, most):
        self.weight = torch.eye(8)
        self._most = most

    def __call__(self, x):
        return x @ self.weight + (torch.get_num_threads() > self._most)


@pytest.mark.parametrize(("most", "agreeing"), [(1, 1), (2, 2), (3, 2), (7, 4), (8, 8)])
def test_threads_whose_products_differ_are_not_used(most, agreeing):
    torch.set_num_threads(8)
    assert agreeing_threads([Split(most)]) == agreeing
    assert torch.get_num_threads() == 8


def test_products_of_every_size_must_agree():
    torch.set_num_threads(4)

    class Wide(Split):
        out_features = 9

    assert agreeing_threads([Split(4), Wide(2)]) == 2
