"""The parts of Backtrader that are nobody's promise, and that the engine builds on: they exist.

Backtrader is pinned to one version. Whoever raises the pin finds here what to look at.
"""

import ast
from importlib.metadata import requires, version
from pathlib import Path

import backtrader as bt
import pytest

from sandbox.trading.broker import CostedBroker
from sandbox.trading.feed import CandleFeed
from sandbox.trading.indicator import KronosSignal
from sandbox.trading.strategy import Strategy
from tests.conftest import make_market, make_run

TRADING = Path(__file__).resolve().parents[3] / "sandbox" / "trading"
OVERRIDDEN = {  # a method of ours takes the place of one that Backtrader calls
    bt.Cerebro: {"_add_timer", "_runnext", "addanalyzer", "chaindata", "replaydata",
                 "resampledata", "rolloverdata"},
    bt.Strategy: {"_clk_update", "_getminperstatus", "_next_analyzers", "_start", "_stop", "buy",
                  "getdatabyname", "notify_order", "prenext"},
    bt.brokers.BackBroker: {
        "_bracketize", "_get_value", "_ococheck", "_ocoize", "add_cash", "add_order_history", "buy",
        "cancel", "check_submitted", "next", "sell", "set_cash", "set_checksubmit", "set_coc",
        "set_coo", "set_filler", "set_fund_history", "set_slippage_fixed", "set_slippage_perc",
        "setcash", "submit",
    },
    bt.feed.DataBase: {"addfilter", "addfilter_simple", "replay", "resample", "start"},
    bt.Indicator: {"next"},
}  # fmt: skip
OURS = {bt.Cerebro: "_Cerebro", bt.Strategy: "Strategy", bt.Indicator: "KronosSignal",
        bt.feed.DataBase: "CandleFeed", bt.brokers.BackBroker: "CostedBroker"}  # fmt: skip
READ = {  # private names that ours read or set, of a run that goes on
    "cerebro": {"_brokernotify", "_check_timers", "_event_stop", "_timers", "runningstrats"},
    "strategy": {"_minperiods", "_minperstatus", "_next", "_trades", "analyzers"},
    "broker": {
        "_fundshares", "_fundval", "_ocol", "_ocos", "_take_children", "_toactivate", "_value",
        "_valuelever", "_valuemkt", "_valuemktlever", "notify", "p", "pending", "positions",
        "startingcash", "submit_accept", "submitted",
    },
    "feed": {"_name"},
    "line": {"UnBounded", "_idx", "array", "lencount", "mode"},
    "indicator": {"_owner"},
    "order": {"active", "addcomminfo", "addinfo", "alive", "created", "executed",
              "execute", "exectype", "expire", "info", "ordtype", "parent", "ref", "trailadjust",
              "trailamount", "trailpercent", "triggered", "valid"},
    "executed": {"remsize", "size"},
    "created": {"pclose", "price", "pricelimit", "size"},
    "parameters": {"_getkwargs"},
    "trade": {"baropen", "isopen"},
}  # fmt: skip
OF_CLASSES = {"_getitems", "_getkeys"}  # of a class of parameters


def test_the_version_is_pinned():
    [pin] = [line for line in requires("kronos-sandbox") if line.startswith("backtrader")]
    assert pin == f"backtrader=={version('backtrader')}"


@pytest.mark.parametrize("base", OVERRIDDEN, ids=lambda base: base.__name__)
def test_what_is_overridden_is_there_to_be_overridden(base):
    missing = {name for name in OVERRIDDEN[base] if not callable(getattr(base, name, None))}
    assert not missing


@pytest.fixture(scope="module")
def parts():
    """Of a run that has an order, a position and an indicator."""
    found = {}

    class Looks(Strategy):
        def __init__(self):
            self.kronos = KronosSignal(self.data)

        def next(self):
            if len(self) == 2:
                self.buy(self.data, size=1)
            if len(self) == 4:
                order = self.sell(self.data, size=1)
                found.update(
                    cerebro=self.cerebro, strategy=self, broker=self.broker, feed=self.data,
                    line=self.data.lines.close, indicator=self.kronos, order=order,
                    executed=order.executed, created=order.created, parameters=self.p,
                    trade=self._trades[self.data][0][0],
                )  # fmt: skip

    class Silent:
        def forecast(self, data):
            return None

    make_run(make_market("A", 6), Looks, signal=Silent())
    return found


@pytest.mark.parametrize("part", READ)
def test_what_is_read_is_there(parts, part):
    missing = {name for name in READ[part] if not hasattr(parts[part], name)}
    assert not missing


def test_what_is_read_of_classes_is_there():
    assert all(hasattr(Strategy.params, name) for name in OF_CLASSES)


def test_no_private_name_is_left_out():
    """Every name with an underscore that the room reads of something that it has not made."""
    made, read = set(), set()
    for path in TRADING.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                made.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                made.add(node.attr)
            elif isinstance(node, ast.AnnAssign):
                made.add(getattr(node.target, "id", None) or node.target.attr)
            elif isinstance(node, ast.Assign):
                made |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                read.add(node.attr)
    private = {name for name in read - made - {"_make"} if not name.startswith("__")}
    assert private <= set().union(*READ.values()) | OF_CLASSES


@pytest.mark.parametrize("cls", [CostedBroker, CandleFeed, Strategy, KronosSignal])
def test_no_overridden_name_is_left_out(cls):
    """Every method of ours that Backtrader has one of the same name of."""
    base = next(base for base, name in OURS.items() if name == cls.__name__)
    ours = {
        name
        for part in cls.__mro__[: cls.__mro__.index(base)]
        if part.__module__.startswith("sandbox.")
        for name, value in vars(part).items()
        if callable(value) and callable(getattr(base, name, None)) and not name.startswith("__")
    }
    generated = {  # by Backtrader's metaclasses, on every class
        "alias", "aliased", "frompackages", "linealias", "lines", "linesoverride", "once",
        "oncestart", "packages", "params", "plotinfo", "plotlines", "preonce",
    }  # fmt: skip
    assert ours - generated - {"of"} <= OVERRIDDEN[base]
