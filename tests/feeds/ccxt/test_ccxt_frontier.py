"""The frontier of one symbol: what a page makes certain, whatever faults pages have."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.ccxt.frontier import Frontier
from feeds.ccxt.pages import Ask, Page, Row, read_page
from feeds.errors import PageError

MINUTE = 60 * 10**9
SETTLE = 2 * MINUTE  # longer than a bar: many candles settle at once
START = 28_333_333 * MINUTE  # in 2023


def candle(minute: int, close: float = 100.0) -> list[float]:
    """A row as ccxt gives it, of the bar that opens `minute` minutes after the start."""
    opened_ms = (START + minute * MINUTE) // 10**6
    return [opened_ms, 100.0, max(100.0, close) + 1, min(100.0, close) - 1, close, 5.0]


def page(frontier: Frontier, minutes: Iterable[int], clock: float = 1000, most: int = 1000) -> Page:
    ask = frontier.ask(at(clock), most)
    return read_page([candle(minute) for minute in minutes], ask)


def at(minute: float) -> int:
    return START + int(minute * MINUTE)


def opened(rows: Iterable[Row]) -> list[int]:
    return [(row.opened_ns - START) // MINUTE for row in rows]


def started() -> Frontier:
    """A frontier with the candle of minute 0 as its anchor."""
    (anchor,) = read_page([candle(0)], Ask(START, 10, anchored=False)).rows
    return Frontier(MINUTE, at(1), anchor)


def test_a_candle_with_a_later_one_is_final_and_the_running_one_is_not() -> None:
    frontier = started()
    taken = frontier.take(page(frontier, [0, 1, 2]), certain_ns=at(-1))
    assert (opened(taken.candles), taken.in_doubt) == ([1], False)
    assert frontier.reached_ns == at(2)


def test_the_last_candle_is_final_once_it_has_settled() -> None:
    frontier = started()
    assert not frontier.take(page(frontier, [0, 1]), certain_ns=at(1.9)).candles
    assert opened(frontier.take(page(frontier, [0, 1]), certain_ns=at(2)).candles) == [1]


def test_no_candle_is_believed_when_two_settled_pages_say_so() -> None:
    frontier = started()
    first = frontier.take(page(frontier, [0]), certain_ns=at(2))
    assert (frontier.reached_ns, first.in_doubt) == (at(1), True)
    second = frontier.take(page(frontier, [0]), certain_ns=at(2.1))
    assert (frontier.reached_ns, second.in_doubt) == (at(2), False)


def test_a_gap_before_a_later_candle_needs_two_pages_too() -> None:
    frontier = started()
    assert opened(frontier.take(page(frontier, [0, 1, 4, 5]), certain_ns=at(4)).candles) == [1]
    assert opened(frontier.take(page(frontier, [0, 1, 4, 5][1:]), certain_ns=at(4)).candles) == [4]


def test_a_gap_that_has_not_settled_waits() -> None:
    frontier = started()
    for _ in range(3):
        taken = frontier.take(page(frontier, [0, 3, 4]), certain_ns=at(2))
        assert not taken.candles
    assert frontier.reached_ns == at(2)  # that nothing closed then has settled
    assert opened(frontier.take(page(frontier, [0, 2, 3, 4]), certain_ns=at(2)).candles) == [2, 3]


def test_a_full_page_says_nothing_of_what_comes_after_it() -> None:
    frontier = started()
    for _ in range(3):
        full = page(frontier, range(frontier_minute(frontier), frontier_minute(frontier) + 60))
        frontier.take(full, certain_ns=at(500))
    assert frontier.reached_ns == at(178)


def frontier_minute(frontier: Frontier) -> int:
    assert frontier.anchor is not None
    return (frontier.anchor.opened_ns - START) // MINUTE


def test_a_page_says_nothing_beyond_the_time_its_limit_spans() -> None:
    frontier = started()
    for _ in range(2):
        frontier.take(page(frontier, [0], clock=1000, most=100), certain_ns=at(900))
    assert frontier.reached_ns == at(100)
    ask = frontier.ask(at(1000), 100)
    assert not ask.anchored  # the anchor is too long ago for one page: ask from the frontier on
    assert ask.since_ns == at(99) + 10**6


def test_a_revision_is_told_once_and_changes_nothing() -> None:
    frontier = started()
    changed = read_page([candle(0, close=99.0), candle(1)], frontier.ask(at(2), 1000))
    taken = frontier.take(changed, certain_ns=at(-1))
    assert (opened(taken.revised), taken.candles) == ([0], ())
    assert not frontier.take(changed, certain_ns=at(-1)).revised
    assert frontier.anchor is not None
    assert frontier.anchor.close == 100.0


def test_a_candle_that_was_taken_to_be_absent_is_a_revision() -> None:
    frontier = started()
    for _ in range(2):
        frontier.take(page(frontier, [0]), certain_ns=at(3))
    taken = frontier.take(page(frontier, [0, 1, 3, 4]), certain_ns=at(3))
    assert (opened(taken.revised), opened(taken.candles)) == ([1], [3])


def test_bars_that_overlap_follow_one_another() -> None:
    """A short session's bar, a timeframe long by its name, opens before the last one closed."""
    frontier = started()
    ask = frontier.ask(at(3), 1000)
    rows = [candle(0), candle(1), candle(2)]
    rows[1][0] -= 20_000
    taken = frontier.take(read_page(rows, ask), certain_ns=at(-1))
    assert len(taken.candles) == 1


@settings(max_examples=150, deadline=None)
@given(
    chance=st.randoms(use_true_random=False),
    pauses=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]), max_size=40),
    traded=st.lists(st.booleans(), min_size=1, max_size=25),
    anchored=st.booleans(),
    most=st.integers(12, 40),
)
def test_whatever_pages_do_the_candles_are_handed_out_each_once_and_in_order(
    chance: random.Random, pauses: list[float], traded: list[bool], anchored: bool, most: int
) -> None:
    """Candles may be late, revised before they are final, doubled, in disorder; pages may be empty,
    cut or short, as long as faults of a candle heal within the settling time."""
    minutes = [0, *(1 + nth for nth, there in enumerate(traded) if there)]
    truth = {minute: 100.0 + minute % 7 for minute in minutes}
    frontier = started() if anchored else Frontier(MINUTE, at(0))
    if anchored:
        truth[0] = 100.0
    got: list[Row] = []
    clock = 1.0
    for pause in pauses:
        clock += pause
        ask = frontier.ask(at(clock), most)
        raw = answer(chance, truth, clock, ask)
        try:
            shown = read_page(raw, ask)
        except PageError:
            continue
        got.extend(frontier.take(shown, at(clock) - SETTLE).candles)
        certain = [row for row in got if row.opened_ns + MINUTE > at(clock)]
        assert not certain  # nothing before its close
    clock = max(clock, len(traded) + 8.0)
    for _ in range(30):  # pages without faults
        ask = frontier.ask(at(clock), most)
        raw = [candle(m, truth[m]) for m in sorted(truth) if at(m) >= ask.since_ns][: ask.limit]
        got.extend(frontier.take(read_page(raw, ask), at(clock) - SETTLE).candles)
    expected = [minute for minute in truth if minute or not anchored]
    assert opened(got) == expected
    assert [row.close for row in got] == [truth[minute] for minute in expected]
    assert len({row.opened_ns for row in got}) == len(got)


@settings(max_examples=150, deadline=None)
@given(
    chance=st.randoms(use_true_random=False),
    jumps=st.lists(st.sampled_from([0, 0, 0, 0, 1, 1, 2]), max_size=60),
    traded=st.lists(st.booleans(), min_size=1, max_size=15),
)
def test_a_clock_that_jumps_is_not_believed_alone(
    chance: random.Random, jumps: list[int], traded: list[bool]
) -> None:
    """A candle may be late or wrong however late it is by the clock, for a few requests."""
    truth = {0: 100.0} | {1 + n: 100.0 + n for n, there in enumerate(traded) if there}
    (anchor,) = read_page([candle(0)], Ask(START, 10, anchored=False)).rows
    frontier = Frontier(MINUTE, at(1), anchor, jumps=True)
    got: list[Row] = []
    clock, asked, closed = 1, 0, 1
    for jump in [*jumps, 20, *[0] * 20]:
        clock += jump
        known = [minute for minute in truth if minute + 1 <= clock]
        asked, closed = (asked + 1 if len(known) == closed else 1), len(known)
        there = {minute: truth[minute] for minute in known}
        if asked <= 3 and closed > 1 and clock < 21 and chance.random() < 0.7:
            newest = there.pop(known[-1])
            if chance.random() < 0.5:
                there[known[-1]] = newest - 1.0
        ask = frontier.ask(at(clock), 1000)
        raw = [candle(m, close) for m, close in there.items() if at(m) >= ask.since_ns]
        got.extend(frontier.take(read_page(raw, ask), at(clock) - MINUTE).candles)
    assert opened(got) == [minute for minute in truth if minute]
    assert [row.close for row in got] == [truth[minute] for minute in opened(got)]


def answer(
    chance: random.Random, truth: dict[int, float], clock: float, ask: Ask
) -> list[list[float]]:
    """What an exchange with faults says at `clock`: what has settled is told as it is."""
    there = [m for m in truth if m <= clock and at(m) >= ask.since_ns]
    settled = [m for m in there if m + 1 + SETTLE / MINUTE <= clock]
    young = [m for m in there if m not in settled]
    late = {m for m in young if chance.random() < 0.3}
    shown = [m for m in there if m not in late]
    rows = []
    for minute in shown:
        last = minute == shown[-1] and minute in young
        wrong = last and chance.random() < 0.5
        rows.append(candle(minute, 98.5 if wrong else truth[minute]))
    rows = rows[: ask.limit]
    fault = chance.choice(["none", "none", "doubled", "disorder", "empty", "nulls"])
    match fault:
        case "doubled" if rows:
            rows.insert(0, list(rows[0]))
        case "disorder":
            chance.shuffle(rows)
        case "empty" if ask.anchored:
            return []
        case "nulls" if rows:
            return [[rows[0][0], None, None, None, None, None]]  # type: ignore[list-item]
    return rows


@pytest.mark.parametrize("length", [MINUTE, 60 * MINUTE])
def test_the_next_close_goes_by_the_anchor(length: int) -> None:
    (anchor,) = read_page([candle(0)], Ask(START, 10, anchored=False)).rows
    frontier = Frontier(length, START + length, anchor)
    assert frontier.next_close_ns == START + 2 * length
    frontier.reached_ns += length // 2
    assert frontier.next_close_ns == START + 2 * length
