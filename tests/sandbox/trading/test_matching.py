"""Where in a bar an order of each kind can fill."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.trading.matching import (
    Bar,
    Match,
    Stage,
    gain_at_close,
    match_limit,
    match_stop,
    match_stop_limit,
)

OPEN, INSIDE = Stage.OPEN, Stage.INSIDE
BAR = Bar(open=100, high=104, low=96, close=101)


@pytest.mark.parametrize(
    ("limit", "buying", "match"),
    [
        (100, True, Match(OPEN, 100)), (101, True, Match(OPEN, 100)), (99, True, Match(INSIDE, 99)),
        (96, True, Match(INSIDE, 96)), (95.9, True, None),
        (100, False, Match(OPEN, 100)), (99, False, Match(OPEN, 100)),
        (104, False, Match(INSIDE, 104)), (104.1, False, None),
    ],
)  # fmt: skip
def test_limit(limit, buying, match):
    assert match_limit(BAR, limit, buying=buying) == match


@pytest.mark.parametrize(
    ("stop", "buying", "match"),
    [
        (100, True, Match(OPEN, 100)), (99, True, Match(OPEN, 100)),
        (103, True, Match(INSIDE, 103)), (104, True, Match(INSIDE, 104)), (104.1, True, None),
        (100, False, Match(OPEN, 100)), (101, False, Match(OPEN, 100)),
        (96, False, Match(INSIDE, 96)), (95.9, False, None),
    ],
)  # fmt: skip
def test_stop(stop, buying, match):
    assert match_stop(BAR, stop, buying=buying) == match


@pytest.mark.parametrize(
    ("stop", "limit", "triggered", "match"),
    [
        (104.1, 110, False, None),
        (103, 103.5, True, Match(INSIDE, 103)),
        (103, 102, True, Match(INSIDE, 102)),  # closed at 101: it came back for certain
        (103, 101, True, Match(INSIDE, 101)),
        (103, 100.5, True, None),  # it may have been there before the stop only
        (99, 98, True, Match(INSIDE, 98)),  # triggered at the open
        (99, 95, True, None),
        (99, 100, True, Match(OPEN, 100)),
    ],
)
def test_stop_limit_to_buy(stop, limit, triggered, match):
    assert match_stop_limit(BAR, stop, limit, buying=True) == (triggered, match)


prices = st.floats(50, 150)
whole_ticks = st.integers(50 * 64, 150 * 64).map(lambda ticks: ticks / 64)  # 200 less one is exact


@st.composite
def bars(draw, prices=prices):
    open_, close, more, less = (draw(prices) for _ in range(4))
    return Bar(open_, max(open_, close, more), min(open_, close, less), close)


@given(bars(), prices, prices, st.booleans())
def test_every_match_is_a_price_of_the_bar_and_none_is_better_than_its_limit(bar, one, two, buying):
    matches = [
        match_limit(bar, one, buying=buying),
        match_stop(bar, one, buying=buying),
        match_stop_limit(bar, one, two, buying=buying).match,
    ]
    for match in filter(None, matches):
        assert bar.low <= match.price <= bar.high
        assert match.stage is Stage.INSIDE or match.price == bar.open
    for match, limit in ((matches[0], one), (matches[2], two)):
        assert match is None or (match.price <= limit if buying else match.price >= limit)
    stop = matches[1]
    assert stop is None or (stop.price >= one if buying else stop.price <= one)


@given(bars(whole_ticks), whole_ticks, whole_ticks)
def test_sells_mirror_buys(bar, one, two):
    turned = Bar(200 - bar.open, 200 - bar.low, 200 - bar.high, 200 - bar.close)
    for match_kind in (match_limit, match_stop):
        bought, sold = (
            match_kind(bar, one, buying=True),
            match_kind(turned, 200 - one, buying=False),
        )
        assert (bought is None) == (sold is None)
        if bought and sold:
            assert (sold.stage, sold.price) == (bought.stage, pytest.approx(200 - bought.price))


def test_gain_at_close():
    assert gain_at_close(BAR, 100, buying=True) == pytest.approx(0.01)
    assert gain_at_close(BAR, 100, buying=False) == pytest.approx(-0.01)
