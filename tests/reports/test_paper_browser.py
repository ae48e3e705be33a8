"""The dashboard's page in a real browser, while the account goes on."""

from __future__ import annotations

import json
import math

import pytest

from tests.reports.browser import CHROMIUM, browser
from tests.reports.paper_accounts import HORIZON, SYMBOLS, AccountFile, written
from tests.reports.test_paper_dashboard import dashboard

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ODD = "<b>X</b>/USDT"
NAMES = [*SYMBOLS, ODD]
BARS = 150


@pytest.fixture(scope="module")
def page():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    file = written(tmp_path_factory.mktemp("paper") / "a.sqlite", BARS, NAMES, name="</script><b>")
    with dashboard(file.path) as (port, _):
        yield file, port
    file.close()


def visit(page, port, symbol="", *, width=1280, dark=False):
    page.call("Page.navigate", url="about:blank")
    page.frames()  # what the page before had to say has been said
    page.requests.clear()
    page.problems.clear()
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
        mobile=width < 600,
    )  # fmt: skip
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.call("Emulation.setEmulatedMedia", features=[scheme])
    page.call("Page.navigate", url=f"http://127.0.0.1:{port}/#{symbol}")
    page.wait("typeof dashboard === 'object' && dashboard.chart.times.length > 0")
    page.frames()


def assert_quiet(page, port):
    """Nothing was asked for elsewhere, and nothing went wrong."""
    asked = [address for address in page.requests if not address.startswith(("data:", "about:"))]
    assert asked and all(address.startswith(f"http://127.0.0.1:{port}/") for address in asked)
    assert page.problems == []


def logical(page, chart):
    found = page.run(f"dashboard.{chart}.api.timeScale().getVisibleLogicalRange()")
    return found["from"], found["to"]


def shown_times(page, chart):
    """First and last time that is looked at."""
    first, last = logical(page, chart)
    at = f"dashboard.{chart}.times"
    return page.run(f"[{at}[Math.max(0, {math.ceil(first)})], {at}[Math.floor({last})] || null]")


def wait_for_bar(page, file):
    page.wait(f"dashboard.chart.bars.at(-1)[0] === {file.time_ns // 10**9}")
    page.wait("dashboard.waiting.length === 0")
    for _ in range(3):
        page.frames()


def test_the_page_shows_the_account(page, served):
    file, port = served
    visit(page, port)
    assert page.texts("h1") == ["</script><b> on paper"]
    assert page.texts("#state b")[0].startswith("Connected since")
    assert page.texts("#figures dt")[:3] == ["Value", "Return", "Drawdown"]
    assert page.texts("#picker option")[-1] == ODD
    assert page.run("dashboard.chart.fan.bands.length") == 5
    assert page.texts(".steps .told")[0].endswith(f"none of its {HORIZON} bars has come.")
    assert len(page.texts("#coverage tbody tr")) == HORIZON
    assert page.texts("#coverage tbody tr:first-child td")[:2] == ["1", f"{4 * (BARS - 1)}"]
    assert len(page.texts("#positions tbody tr")) == sum(map(bool, file.held.values()))
    assert len(page.texts("#orders tbody tr")) == 1
    assert page.run("document.querySelector('main b b')") is None
    assert_quiet(page, port)


def test_new_bars_appear_and_a_view_of_earlier_bars_stays(page, served):
    file, port = served
    visit(page, port)
    for chart in ("account", "chart"):
        page.run(f"dashboard.{chart}.api.timeScale().setVisibleLogicalRange({{from: 20, to: 60}})")
    page.frames()
    before = [shown_times(page, chart) for chart in ("account", "chart")]
    for _ in range(3):
        file.bar()
        file.status()
        wait_for_bar(page, file)
    assert [shown_times(page, chart) for chart in ("account", "chart")] == before
    assert page.run("dashboard.account.times.at(-1)") == file.time_ns // 10**9
    assert_quiet(page, port)


def test_a_view_of_the_newest_bars_goes_with_them(page, served):
    file, port = served
    visit(page, port)
    first, last = logical(page, "chart")
    whole = shown_times(page, "account")
    for _ in range(2):
        file.bar()
        wait_for_bar(page, file)
    assert logical(page, "chart") == pytest.approx((first + 2, last + 2), abs=0.01)
    assert shown_times(page, "account")[0] == whole[0]  # all of it, still
    assert shown_times(page, "account")[1] == file.time_ns // 10**9


def test_one_steps_back_through_forecasts_and_the_page_goes_on(page, served):
    file, port = served
    visit(page, port)
    last = file.time_ns // 10**9
    for step in range(1, HORIZON + 3):
        page.run("document.querySelector('.steps .earlier').click()")
        page.wait(f"dashboard.shown.asof === {last - 3600 * step}")
    told = page.texts(".steps .told")[0]
    assert f"{HORIZON} of {HORIZON} bars have come" in told
    assert page.run("dashboard.chart.fan.times[0] === dashboard.chart.fan.asof + 3600")
    file.bar()
    wait_for_bar(page, file)
    assert page.run("dashboard.chart.fan.asof") == last - 3600 * (HORIZON + 2)  # it stays
    page.click(".steps .later")
    page.wait(f"dashboard.shown.asof === {last - 3600 * (HORIZON + 1)}")
    page.click(".steps .latest")
    page.frames()
    assert page.run("dashboard.chart.fan.asof") == file.time_ns // 10**9
    file.bar()
    wait_for_bar(page, file)
    assert page.run("dashboard.chart.fan.asof") == file.time_ns // 10**9  # it follows
    assert_quiet(page, port)


def test_a_fan_that_is_half_over_is_counted_on(page, served):
    file, port = served
    visit(page, port)
    page.click(".steps .earlier")
    page.wait("dashboard.shown.came === 1")
    file.bar()
    page.wait("dashboard.shown.came === 2")
    assert "2 of 12 bars have come" in page.texts(".steps .told")[0]


def test_another_symbol_is_picked_from_the_list_and_from_a_table(page, served):
    file, port = served
    visit(page, port)
    page.run(f"dashboard.picker.value = {json.dumps(ODD)};"
             "dashboard.picker.dispatchEvent(new Event('change'))")  # fmt: skip
    page.wait("dashboard.chart.bars.length > 0 && dashboard.waiting.length === 0")
    page.frames()
    assert page.run("dashboard.chart.bars.at(-1)[4]") == pytest.approx(file.closes[ODD])
    assert page.texts("#own") == [ODD]
    name = page.texts("#fills tbody button")[0]
    page.click("#fills tbody button")
    page.wait(f"dashboard.symbol === {json.dumps(name)} && dashboard.chart.bars.length > 0")
    page.frames()
    assert page.run("dashboard.chart.marks.length") > 0
    assert page.run("dashboard.chart.bars.at(-1)[4]") == pytest.approx(file.closes[name])
    visit(page, port, symbol=name.replace("/", "%2F"))  # a page that is loaded anew keeps it
    assert page.run("dashboard.symbol") == name
    assert_quiet(page, port)


def test_going_back_brings_earlier_candles(page, served):
    """The page is told of the newest bars alone, so that there are earlier ones."""
    _, port = served
    visit(page, port)
    count = page.run("dashboard.chart.bars.length")
    page.run("{ const c = dashboard.chart; c.whole(c.bars.slice(-40), [], c.fan); }")
    page.frames()
    page.run("dashboard.chart.reach(Infinity)")
    page.wait(f"dashboard.chart.bars.length === {count}")
    page.wait("dashboard.hasAll || !dashboard.reading")
    page.run("dashboard.chart.reach(20)")
    page.run("{ const c = dashboard.chart; c.whole(c.bars.slice(-40), [], c.fan); }")
    page.run("dashboard.hasAll = false")
    first = page.run("dashboard.chart.first")
    page.run(f"dashboard.shown = {{asof: {first}}}; dashboard.step(-1)")
    page.wait(f"dashboard.chart.fan.asof === {first - 3600}")
    assert page.run("dashboard.chart.first") < first - 3600
    page.frames()
    begin, end = shown_times(page, "chart")
    assert begin <= first - 3600 and end >= first + 3600
    assert_quiet(page, port)


def test_a_page_that_was_hidden_gets_what_it_missed(page, served):
    file, port = served
    visit(page, port)
    page.run("dashboard.close()")
    for _ in range(3):
        file.bar()
    count = page.run("dashboard.chart.bars.length")
    page.run("dashboard.open()")
    wait_for_bar(page, file)
    assert page.run("dashboard.chart.bars.length") == count + 3


def test_an_account_that_has_not_begun(page, tmp_path):
    file = AccountFile(tmp_path / "a.sqlite")
    with dashboard(file.path) as (port, _):
        visit(page, port)
        page.move(600, 700)
        assert page.texts("#state b")[0].startswith("No process has traded")
        assert page.texts(".steps .told") == ["No forecast yet."]
        assert page.texts(".is-empty .nothing")[0] == "Nothing is held."
        assert len(page.texts(".is-empty .nothing")) == 4  # coverage has a row a horizon
        file.bar()
        file.status()
        wait_for_bar(page, file)
        assert page.run("dashboard.account.times.length") == 1
        assert page.texts("#state b")[0].startswith("Connected")
        assert_quiet(page, port)
    file.close()


def test_what_is_wrong_is_said_on_top(page, served):
    file, port = served
    file.status(connected=False, waiting_for=["ETH/USDT"])
    visit(page, port)
    page.wait("document.querySelector('#state').classList.contains('bad')")
    assert page.texts("#state b")[0].startswith("No connection since")
    assert page.texts("#state .late") == ["Late: ETH/USDT"]
    file.status(speed=3600.0)
    page.wait("document.querySelector('#state').classList.contains('good')")
    assert "3,600 times as fast" in page.texts("#state .countdown")[0]
    file.status(stopped=True)
    page.wait("document.querySelector('#state').classList.contains('warn-level')")
    assert page.texts("#state .countdown") == [""]
    file.status()


def test_a_dashboard_that_ends_is_missed_and_found_again(page, tmp_path):
    file = written(tmp_path / "a.sqlite", 5)
    with dashboard(file.path) as (port, _):
        visit(page, port)
    page.wait("!document.querySelector('#problem').hidden")
    assert "does not answer" in page.texts("#problem p")[0]
    file.bar()
    with dashboard(file.path, port):
        wait_for_bar(page, file)
        page.wait("document.querySelector('#problem').hidden")
        assert page.run("dashboard.chart.bars.length") == 66
    file.close()


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_narrow_screen_nothing_sticks_out(page, served, dark):
    _, port = served
    visit(page, port, width=380, dark=dark)
    assert page.run("document.documentElement.scrollWidth") <= 380
    assert page.run("document.querySelectorAll('.chart canvas').length") > 4
    assert_quiet(page, port)
