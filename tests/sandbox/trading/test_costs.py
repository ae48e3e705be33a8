"""The cost model by itself: its prices by hand, what it refuses, and its presets."""

import math
import statistics
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ConfigError
from sandbox.trading.costs import PRESETS, CostModel, Liquidity, Terms, cost_model

CALM = Liquidity()
LIVELY = Liquidity(volatility=0.02, mean_volume=10_000.0)


def to_buy(reference_price=100.0, limit=math.inf, liquidity=CALM):
    return Terms(buying=True, reference_price=reference_price, limit=limit, liquidity=liquidity)


def to_sell(reference_price=100.0, limit=0.0, liquidity=CALM):
    return Terms(buying=False, reference_price=reference_price, limit=limit, liquidity=liquidity)


def test_no_costs_is_the_price_itself():
    quote = CostModel().quote(10, to_buy(liquidity=LIVELY))
    assert (quote.price, quote.slippage, quote.impact, quote.fees) == (100.0, 0.0, 0.0, 0.0)


def test_slippage_is_against_the_trader_on_both_sides():
    costs = CostModel(slippage_bps=10)
    assert costs.quote(10, to_buy()).price == pytest.approx(100.1)
    assert costs.quote(10, to_sell()).price == pytest.approx(99.9)
    assert costs.quote(10, to_sell()).slippage == pytest.approx(1.0)  # 10 * 0.1


def test_impact_is_the_square_root_law():
    quote = CostModel(impact=0.5).quote(100, to_buy(liquidity=LIVELY))
    assert quote.price == pytest.approx(100.1)  # 0.5 * 0.02 * sqrt(100 / 10000) = 0.001
    assert quote.impact == pytest.approx(10.0)  # 100 * 0.1
    four_times = CostModel(impact=0.5).quote(400, to_sell(liquidity=LIVELY))
    assert four_times.price == pytest.approx(99.8)  # twice as far for four times the size


def test_slippage_and_impact_add_up():
    quote = CostModel(slippage_bps=5, impact=0.5).quote(100, to_buy(liquidity=LIVELY))
    assert quote.price == pytest.approx(100.15)
    assert (quote.slippage, quote.impact) == (pytest.approx(5.0), pytest.approx(10.0))


@pytest.mark.parametrize(
    ("limit", "slippage", "impact"),
    [
        (100.15, 5.0, 10.0),  # room for both
        (100.12, 2.0, 10.0),  # slippage gives way first
        (100.10, 0.0, 10.0),
        (100.04, 0.0, 4.0),  # then impact
        (100.00, 0.0, 0.0),
    ],
)
def test_a_limit_cuts_slippage_first(limit, slippage, impact):
    costs = CostModel(slippage_bps=5, impact=0.5)
    quote = costs.quote(100, to_buy(limit=limit, liquidity=LIVELY))
    assert quote.price == pytest.approx(100 + (slippage + impact) / 100)
    assert quote.price <= limit
    assert quote.slippage == pytest.approx(slippage, abs=1e-9)
    assert quote.impact == pytest.approx(impact, abs=1e-9)
    mirrored = costs.quote(100, to_sell(limit=200 - limit, liquidity=LIVELY))
    assert mirrored.price == pytest.approx(200 - quote.price)
    assert mirrored.price >= 200 - limit


def test_nobody_sells_below_nothing():
    quote = CostModel(impact=1000).quote(10_000, to_sell(liquidity=LIVELY))
    assert (quote.price, quote.impact) == (0.0, 1_000_000.0)


def test_commission_tax_and_the_minimum():
    costs = CostModel(commission_bps=10, sell_tax_bps=50, min_commission=5)
    assert costs.quote(100, to_buy()).fees == pytest.approx(10.0)  # 10000 * 0.001
    assert costs.quote(100, to_sell()).fees == pytest.approx(60.0)  # and 10000 * 0.005
    assert costs.quote(10, to_buy()).fees == 5.0  # not 1
    assert costs.quote(10, to_sell()).fees == pytest.approx(10.0)  # 5, and 1000 * 0.005


def test_liquidity_of_the_last_bars():
    closes, volumes = np.array([100.0, 110.0, 99.0, 99.0]), np.array([10.0, 20.0, 30.0, 40.0])
    liquidity = Liquidity.of(closes, volumes)
    assert liquidity.volatility == pytest.approx(statistics.stdev([0.1, -0.1, 0.0]))
    assert liquidity.mean_volume == 25.0
    assert Liquidity.of(closes[:2], volumes[:2]) == Liquidity()  # one return has no spread


@pytest.mark.parametrize(
    ("lot_size", "size", "whole"),
    [
        (1, 10.0, 10.0),
        (1, 10.9, 10.0),
        (1, 0.9, 0.0),
        (100, 299.0, 200.0),
        (1e-6, 0.123456, 0.123456),
        (1e-6, 0.1234567, 0.123456),
        (0.1, 0.1 + 0.2, 0.1 + 0.2),  # three lots but for rounding
        (1e-6, 123_456_789.123456, 123_456_789.123456),
    ],
)
def test_whole_lots(lot_size, size, whole):
    assert CostModel(lot_size=lot_size).whole_lots(size) == pytest.approx(whole, rel=1e-12)


def test_the_cash_pays_for_all_parts_of_a_buy():
    costs = CostModel(commission_bps=100, slippage_bps=100)
    # one at 100 costs 101 and 1.01 of commission: 102.01
    assert costs.affordable(1020.1, 50, to_buy()) == 10
    assert costs.affordable(1020.0, 50, to_buy()) == 9
    assert costs.affordable(1020.1, 3, to_buy()) == 3
    assert CostModel(min_commission=10).affordable(209.99, 50, to_buy()) == 1  # 100 and 10
    assert CostModel(min_commission=10).affordable(109.99, 50, to_buy()) == 0


models = st.builds(
    CostModel,
    commission_bps=st.floats(0, 500),
    min_commission=st.floats(0, 50),
    sell_tax_bps=st.floats(0, 500),
    slippage_bps=st.floats(0, 500),
    impact=st.floats(0, 5),
    lot_size=st.sampled_from([1.0, 100.0, 1e-6, 0.01]),
)


@given(models, st.floats(0, 1e6), st.integers(1, 10_000), st.floats(0.01, 1e4))
def test_an_affordable_size_is_the_largest(costs, cash, lots, price):
    terms, wanted = to_buy(price, liquidity=LIVELY), lots * costs.lot_size
    size = costs.affordable(cash, wanted, terms)

    def cost(units):
        quote = costs.quote(units, terms)
        return units * quote.price + quote.fees

    assert 0 <= size <= wanted
    assert size == 0 or cost(size) <= cash
    assert size == wanted or cost(min(wanted, size + costs.lot_size)) > cash
    assert math.isclose(size / costs.lot_size, round(size / costs.lot_size), rel_tol=1e-9)


@given(models, st.booleans(), st.floats(0.01, 1e6), st.floats(0.01, 1e4), st.floats(0, 2))
def test_a_price_is_its_reference_and_the_parts(costs, buying, size, price, reach):
    limit = price * (1 + reach) if buying else price * max(0.0, 1 - reach)
    terms = Terms(buying=buying, reference_price=price, limit=limit, liquidity=LIVELY)
    quote = costs.quote(size, terms)
    lost = (quote.price - price) * size * (1 if buying else -1)
    assert lost == pytest.approx(quote.slippage + quote.impact, rel=1e-9, abs=1e-9 * size * price)
    assert min(quote.slippage, quote.impact, quote.fees, quote.price) >= 0
    assert quote.price <= limit if buying else quote.price >= limit


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("commission_bps", -1.0, "0 or more and below 10000"),
        ("sell_tax_bps", 10_000.0, "0 or more and below 10000"),
        ("slippage_bps", math.nan, "0 or more and below 10000"),
        ("min_commission", math.inf, "0 or more"),
        ("impact", -0.5, "0 or more"),
        ("volume_cap_pct", 0.0, "above 0 and at most 100"),
        ("volume_cap_pct", 101.0, "above 0 and at most 100"),
        ("price_limit_pct", 0.0, "above 0"),
        ("price_limit_pct", math.inf, "above 0"),
        ("lot_size", math.inf, "above 0"),
        ("lot_size", 0.0, "above 0"),
    ],
)
def test_a_cost_out_of_range_is_refused_by_name(field, value, allowed):
    with pytest.raises(ConfigError, match=f"^{field} {value}: it must be {allowed}$"):
        CostModel(**{field: value})


def test_presets_are_what_their_markets_charge():
    assert set(PRESETS) == {"us", "ph", "cn", "crypto", "none"}
    assert asdict(cost_model("cn")) == {
        "commission_bps": 10.0,
        "min_commission": 5.0,
        "sell_tax_bps": 5.0,
        "slippage_bps": 5.0,
        "impact": 1.0,
        "volume_cap_pct": 10.0,
        "price_limit_pct": 9.5,
        "lot_size": 100.0,
    }
    ph = cost_model("ph")  # 25 bps, 12 % VAT on them, 1.5 bps
    assert (ph.commission_bps, ph.sell_tax_bps) == (pytest.approx(25 * 1.12 + 1.5), 60.0)
    assert cost_model("none") == CostModel()
    assert all(preset.source and "\n" not in preset.source for preset in PRESETS.values())


def test_overrides_replace_and_none_leaves():
    costs = cost_model("us", slippage_bps=0.0, commission_bps=None, impact=2.0)
    assert (costs.slippage_bps, costs.commission_bps, costs.impact) == (0.0, 1.0, 2.0)


def test_an_unknown_preset_or_cost_is_named():
    text = r"^costs 'crpto': not known, did you mean crypto\? \(one of us, ph, cn, crypto, none\)$"
    with pytest.raises(ConfigError, match=text):
        cost_model("crpto")
    with pytest.raises(ConfigError, match=r"^cost 'spread': not known \(one of commission_bps, "):
        cost_model("us", spread=1.0)


def test_a_cap_of_the_whole_volume_is_allowed():
    assert CostModel(volume_cap_pct=100.0).volume_cap_pct == 100.0


@pytest.mark.parametrize("buying", [True, False])
def test_no_price_is_beyond_its_limit_by_as_much_as_a_rounding(buying):
    """Slippage takes all the room there is, and reference * (1 + room) may round past the limit."""
    model = CostModel(slippage_bps=9_000.0)
    generator = np.random.default_rng(0)
    lower, upper = generator.uniform(0.6, 1.0, 1_000), generator.uniform(1.0, 1.1, 1_000)
    for reference, limit in zip(*((lower, upper) if buying else (upper, lower)), strict=True):
        terms = (to_buy if buying else to_sell)(float(reference), float(limit))
        price = model.quote(1.0, terms).price
        assert price <= limit if buying else price >= limit
        assert price == pytest.approx(limit, rel=1e-12)


def test_a_name_like_no_preset_gets_no_suggestion():
    with pytest.raises(ConfigError, match=r"^costs 'zzz': not known \(one of us, ph, "):
        cost_model("zzz")
