"""Paper equals backtest where a strategy or its forecasts are out of the ordinary."""

import textwrap

import pytest
from paper_cases import DAY_NS, History, table, trading

import feeds
from feeds.ccxt import Market
from feeds.steps import Steps
from sandbox.config import RunConfig
from sandbox.errors import AccountError, StrategyError
from sandbox.paper.opening import on_account
from sandbox.run.portfolios import Trading
from sandbox.run.prepare import prepare

BARS = 16
EAGER = """
    def next(self):
        forecasts = self.forecasts() if self.due else {}
        for data in self.tradable():
            self.buy(data, size=1 + (data in forecasts))
"""


@pytest.fixture(scope="module")
def history():
    candles = feeds.load("sample:AAPL,NVDA", start="2019-06-01", end="2019-09-20")
    return history_of(dict(candles.frames))


def history_of(frames):
    markets = tuple(
        Market(
            symbol=f"{name}/USDT",
            name=name,
            costs="us",
            calendar="XNYS",
            active=True,
            steps=Steps(),
        )
        for name in frames
    )
    times = feeds.bar_times(frames)
    return History(frames, int(times[-BARS - 1].value), DAY_NS, markets)


@pytest.fixture
def config_of(tmp_path):
    def config(body, **options):
        path = tmp_path / "mine.py"
        head = "import sys\nfrom sandbox import Strategy\n\nclass Mine(Strategy):\n"
        path.write_text(head + textwrap.indent(textwrap.dedent(body), "    "))
        settings = {"signal": "momentum", "lookback": 30, "samples": 4, **options}
        return RunConfig.of(strategies=[str(path)], **settings)

    return config


def expect_the_same(config, history, path, *, cut=BARS // 2, ended=(), late=lambda: None):
    """Trade all bars in two sittings, and then again in a backtest."""
    bars = list(history.bars(history.started_ns, ended))
    with trading(config, history, path, late=late) as (trader, _):
        for bar in bars[:cut]:
            trader.trade(bar, caught_up=False)
    with trading(config, history, path, late=late) as (trader, _):
        for bar in bars[cut:]:
            trader.trade(bar, caught_up=False)
        run = prepare(on_account(config, path))
        paper = trader.finish(run.candles)
    books = run.books(lambda done, total: None)
    own = next(portfolio for portfolio in run.plan() if portfolio.role == "strategy")
    backtest = Trading(market=run.market, books=books).backtest(own, lambda d, t: None).backtest
    for name in ("trades", "equity", "weights", "decisions"):
        assert getattr(paper, name).to_csv() == getattr(backtest, name).to_csv()
    return paper


def test_late_forecasts_of_a_naive_signal_are_missing_in_a_backtest_too(
    config_of, history, tmp_path
):
    asked = iter([None, None, "late", None, None, "late"] + [None] * BARS)
    path = tmp_path / "account.sqlite"
    expect_the_same(config_of(EAGER), history, path, late=lambda: next(asked))
    missing = table(path, "SELECT symbol, missing, paths FROM forecasts")
    assert sorted(missing) == [("AAPL", "late", None)] * 2 + [("NVDA", "late", None)] * 2


@pytest.mark.parametrize("signal", ["momentum", "kronos"])
def test_an_account_in_which_nothing_could_be_forecast(signal, config_of, history, tmp_path):
    """The one symbol with bars enough has ended when it would be due."""
    frames = dict(history.frames)
    frames["AAPL"] = frames["AAPL"].iloc[:-BARS]
    frames["NVDA"] = frames["NVDA"].iloc[-BARS - 3 :]
    config = config_of(EAGER, signal=signal, lookback=40, params={"rebalance": "month"})
    paper = expect_the_same(config, history_of(frames), tmp_path / "a.sqlite", ended=["AAPL"])
    assert len(paper.trades) > 8


def test_a_strategy_that_ends_the_process_is_an_error_by_its_line(config_of, history, tmp_path):
    config = config_of("def next(self):\n    sys.exit(0)\n")
    with (
        trading(config, history, tmp_path / "account.sqlite") as (trader, _),
        pytest.raises(StrategyError, match=r"mine: SystemExit: 0 \(.*mine.py:6\)"),
    ):
        trader.trade(next(history.bars(history.started_ns)), caught_up=False)


SIZED = """
    params = (("rebalance", "day"),)

    def next(self):
        for data, forecast in self.forecasts().items():
            self.buy(data, size=1 + int(1e4 * forecast.uncertainty()))
"""


def test_calibrated_forecasts_are_the_same_on_paper_and_in_a_backtest(config_of, tmp_path):
    """Each bar's are made from what had come by then, in a backtest all together."""
    candles = feeds.load("sample:AAPL,NVDA,XOM", start="2018-01-01", end="2019-09-20")
    history = history_of(dict(candles.frames))
    options = {"signal": "kronos", "lookback": 20, "horizon": 3}
    sizes = {}
    for calibrate in (True, False):
        config = config_of(SIZED, calibrate=calibrate, **options)
        path = tmp_path / f"{calibrate}.sqlite"
        paper = expect_the_same(config, history, path)
        sizes[calibrate] = paper.decisions["size"].tolist()
        said = table(path, "SELECT text FROM events WHERE kind = 'forecasts'")
        calibrated = ("All forecasts are calibrated by what came after past ones.",)
        assert said == ([calibrated] * 2 if calibrate else [])  # once a sitting
    assert len(sizes[True]) == 3 * BARS
    assert sizes[True] != sizes[False]


def test_an_account_stays_calibrated_or_raw(config_of, history, tmp_path):
    path = tmp_path / "account.sqlite"
    raw = config_of(SIZED, signal="kronos")
    with trading(raw, history, path):
        pass
    with (
        pytest.raises(AccountError, match="model: calibrate None, now True"),
        trading(config_of(SIZED, signal="kronos", calibrate=True), history, path),
    ):
        pass
