"""Pages in a real browser: the crosshair, zoom, legends, and fills that are sorted and filtered."""

import json
import re
import zlib
from datetime import UTC, datetime

import pandas as pd
import pytest

from reports.folder import read_run
from reports.report import fills_html, report_html
from tests.reports.browser import CHROMIUM, browser
from tests.reports.conftest import days, entry, plan, write_run
from tests.reports.test_forecast import forecast_page
from tests.reports.test_holdings import report_metrics

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

BARS = 300
ODD = "</script><b>$x"


@pytest.fixture(scope="module")
def page():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A run folder with its two pages, of odd names and with short positions."""
    seen = {"name": "mini", "fingerprint": "ab", "seen_until": "2020-08-14", "max_context": 512}
    folder = write_run(
        tmp_path_factory.mktemp("browser") / "run", plan(["topk", ODD]), days(BARS),
        symbols=12, model=seen,
    )  # fmt: skip
    run = read_run(folder)
    (folder / "report.html").write_text(report_html(run, report_metrics(run)))
    (folder / "fills.html").write_text(fills_html(run))
    return folder


def opened(page, path, **options):
    """The page, with what it asked for and what went wrong since."""
    page.requests.clear()
    page.problems.clear()
    page.open(path, **options)
    for _ in range(3):  # charts are drawn, their scales made equally wide, and drawn again
        page.frames()


def assert_quiet(page, path):
    """Nothing was asked for but the file itself, and nothing went wrong."""
    asked = [address for address in page.requests if not address.startswith("data:")]
    assert asked == [path.as_uri()]
    assert page.problems == []


def legend(page, chart):
    """Name -> value of a chart's legend, and the time that they are of."""
    items = page.run(
        f"[...document.querySelectorAll('#{chart} .legend li > i')]"
        ".map(e => [e.parentNode.querySelector('button').textContent, e.textContent])"
    )
    [when] = page.texts(f"#{chart} .when")
    return dict(items), when


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", "").replace(" %", ""))


def shown_range(page, chart="equity"):
    """First and last time on the time axis, by moving the pointer to both edges of the plot."""
    left, top, width, height = box(page, chart)
    found = []
    for x in (left + 1, left + width - 2):
        page.move(x, top + height / 2)
        found.append(legend(page, chart)[1])
    return found


def box(page, chart):
    """Left, top, width and height of a chart's plot, without its scales."""
    page.middle(f"#{chart} .chart")
    return page.run(
        f"(() => {{ const b = document.querySelector('#{chart} canvas').getBoundingClientRect();"
        "return [b.left, b.top, b.width, b.height]; })()"
    )


def test_the_crosshair_shows_the_values_of_every_series_in_every_chart(page, report):
    path = report / "report.html"
    opened(page, path)
    run = read_run(report)
    for share in (0.1, 0.5, 0.8):
        left, top, width, height = box(page, "equity")
        page.move(left + share * width, top + height / 2)
        values, when = legend(page, "equity")
        at = run.times.strftime("%Y-%m-%d").get_loc(when)
        assert set(values) == {p.name for p in run.portfolios}
        for name, text in values.items():
            worth = run.value[name].iloc[at] / run.start_cash
            assert number(text) == pytest.approx(worth, abs=0.0006), (name, when)
        drawdowns, also = legend(page, "drawdown")
        assert also == when
        value = run.value["topk"].iloc[: at + 1]
        worst = 100 * (value.iloc[-1] / max(run.start_cash, value.max()) - 1)
        assert number(drawdowns["topk"]) == pytest.approx(worst, abs=0.006)
        held, also = legend(page, "holdings-0")
        weights = run.weights[(run.weights["time"] == run.times[at])]
        mine = weights[weights["strategy"] == "topk"].set_index("symbol")["weight"]
        assert also == when
        for symbol, text in held.items():
            if not symbol.endswith((" symbols", ", short")):
                assert number(text) == pytest.approx(100 * mine.get(symbol, 0.0), abs=0.06)
    page.move(5, 5)
    assert legend(page, "equity")[1] == f"{run.times[-1]:%Y-%m-%d}"
    assert_quiet(page, path)


def test_buttons_the_wheel_and_dragging_zoom_and_move_all_charts(page, report):
    path = report / "report.html"
    opened(page, path)
    times = read_run(report).times.strftime("%Y-%m-%d")
    assert shown_range(page) == [times[0], times[-1]]
    assert page.texts(".ranges button") == ["All", "1 year", "3 months", "1 month"]
    page.click(".ranges button", 2)
    first, last = shown_range(page)
    assert pd.Timestamp(first) > pd.Timestamp(times[-1]) - pd.Timedelta(days=95)
    assert last == times[-1]
    assert shown_range(page, "drawdown") == [first, last]
    left, top, width, height = box(page, "equity")
    page.drag(left + width / 4, top + height / 2, left + width / 2)
    moved, earlier = shown_range(page)
    assert pd.Timestamp(moved) < pd.Timestamp(first)
    assert pd.Timestamp(earlier) < pd.Timestamp(last)
    page.click(".ranges button", 0)
    assert shown_range(page) == [times[0], times[-1]]
    left, top, width, height = box(page, "equity")
    page.move(left + width / 2, top + height / 2)
    page.wheel(left + width / 2, top + height / 2, -300, ctrl=True)
    zoomed = shown_range(page, "turnover")
    assert times[0] < zoomed[0] < zoomed[1]
    assert_quiet(page, path)


def test_the_wheel_alone_scrolls_the_page(page, report):
    opened(page, report / "report.html")
    before = shown_range(page)
    left, top, width, height = box(page, "equity")
    scrolled = page.run("scrollY")
    page.move(left + width / 2, top + height / 2)
    page.wheel(left + width / 2, top + height / 2, 200)
    page.wait(f"scrollY > {scrolled}")
    assert shown_range(page) == before


def drawn(page, chart):
    """All pixels of a chart, without a crosshair, as one number."""
    page.move(5, 5)
    pixels = page.run(
        f"[...document.querySelectorAll('#{chart} canvas')].map(c => c.toDataURL()).join()"
    )
    return zlib.crc32(pixels.encode())


@pytest.mark.parametrize("chart", ["equity", "holdings-0"])
def test_a_name_in_the_legend_hides_its_series_and_brings_it_back(page, report, chart):
    path = report / "report.html"
    opened(page, path)
    box(page, chart)
    whole = drawn(page, chart)
    page.click(f"#{chart} .legend button")
    assert page.run(f"document.querySelector('#{chart} .legend button').ariaPressed") == "false"
    hidden = drawn(page, chart)
    assert hidden != whole
    page.click(f"#{chart} .legend button")
    assert drawn(page, chart) == whole
    assert_quiet(page, path)


def test_controls_are_hidden_together_and_one_by_one(page, report):
    opened(page, report / "report.html")
    whole = drawn(page, "equity")
    group = "#equity .several > button"
    assert page.texts(group) == ["10 naive controls"]
    page.click(group)
    pressed = "#equity .several button[aria-pressed='false']"
    assert len(page.texts(pressed)) == 11
    assert drawn(page, "equity") != whole
    page.click(group)
    page.click("#equity .several summary")
    page.click("#equity .several ul button", 3)
    assert page.texts(pressed) == ["topk:random"]


def test_the_days_seen_are_shaded(page, report):
    """The background of the first days is another than that of the last ones."""
    opened(page, report / "report.html")
    colors = page.run(
        "(() => { const c = document.querySelector('#equity canvas');"
        "const at = x => [...c.getContext('2d').getImageData(x, 3, 1, 1).data].join();"
        "return [at(5), at(c.width - 5)]; })()"
    )
    assert colors[0] != colors[1]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_the_screen(page, report, width, dark):
    for file in ("report.html", "fills.html"):
        opened(page, report / file, width=width, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= width
        ink, ground = page.run(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
        )
        assert (sum(map(int, re.findall(r"\d+", ground))) < 150) is dark
        assert ink != ground
        assert_quiet(page, report / file)


def test_without_scripts_figures_verdicts_tables_and_pictures_are_there(page, report):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.call("Page.navigate", url=(report / "report.html").as_uri())
        page.wait("document.readyState === 'complete'")
        text = page.run("document.body.innerText")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    metrics = report_metrics(read_run(report))
    for verdict in metrics["verdicts"].values():
        assert verdict["sentence"] in text.replace("\N{MINUS SIGN}", "-").replace("\xa0", " ")
    for words in (
        "Sharpe, net",
        "Without JavaScript",
        "Returns by month",
        "10 naive controls",
        "Oct",
    ):
        assert words in text
    assert page.run("document.querySelectorAll('.chart svg path').length") > 20
    assert page.run("document.querySelectorAll('canvas').length") == 0


def rows(page, column):
    return page.texts(f".fills tbody td:nth-child({column})")


def sort_by(page, column):
    page.click(f".fills th:nth-child({column}) button")


def filter_by(page, **values):
    for name, value in values.items():
        page.run(
            f"(e => {{ e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('input', {bubbles: true})); })"
            f"(document.querySelector('[name={name}]'))"
        )


TIME, PORTFOLIO, SYMBOL, SIDE, SIZE, PRICE, TRADED = 1, 2, 3, 4, 5, 6, 8


def test_fills_are_sorted_as_numbers_and_filtered(page, report):
    path = report / "fills.html"
    opened(page, path)
    trades = pd.read_csv(report / "trades.csv", keep_default_na=False)
    mine = trades[trades["strategy"] == "topk"]
    assert set(rows(page, PORTFOLIO)) == {"topk"}
    assert page.texts(".pages output")[0].startswith(f"{len(mine)} of {len(trades)} fills")
    newest_first = rows(page, TIME)
    assert newest_first == sorted(newest_first, reverse=True)
    for column, name in ((SIZE, "size"), (PRICE, "price")):
        sort_by(page, column)
        falling = [number(text) for text in rows(page, column)]
        assert falling == pytest.approx(sorted(mine[name], reverse=True)[: len(falling)], rel=1e-5)
        sort_by(page, column)
        rising = [number(text) for text in rows(page, column)]
        assert rising == pytest.approx(sorted(mine[name])[: len(rising)], rel=1e-5)
    assert page.texts("th[aria-sort=ascending]") == ["Price"]
    filter_by(page, portfolio="", side="1")
    assert set(rows(page, SIDE)) == {"sell"}
    assert page.texts(".pages output")[0].startswith(f"{(trades['side'] == 'sell').sum()} of ")
    filter_by(page, side="", **{"from": "2020-03-02", "to": "2020-03-06"})
    shown = sorted({text[:10] for text in rows(page, TIME)})
    inside = trades["time"].str[:10].between("2020-03-02", "2020-03-06")
    assert shown == sorted(trades["time"][inside].str[:10].unique())
    filter_by(page, symbol="nothing like it")
    assert rows(page, TIME) == []
    filter_by(page, symbol="na")
    assert set(rows(page, SYMBOL)) == {"NA"}
    assert_quiet(page, path)


def test_pages_of_fills_are_turned(page, report):
    opened(page, report / "fills.html")
    filter_by(page, portfolio="")
    count = len(pd.read_csv(report / "trades.csv"))
    last = -(-count // 100)
    page.click(".pages .earlier")
    assert page.texts(".pages output")[0].endswith(f"page 1 of {last}")
    for _ in range(last):
        page.click(".pages .later")
    assert page.texts(".pages output")[0].endswith(f"page {last} of {last}")
    assert len(rows(page, TIME)) == count - 100 * (last - 1)


def test_names_are_text_wherever_they_stand(page, report):
    for file in ("report.html", "fills.html"):
        opened(page, report / file)
        assert page.run("document.querySelectorAll('main b').length") == page.run(
            "document.querySelectorAll('figcaption b, .warn b').length"
        )
        assert ODD in page.run("document.body.innerText")
        assert_quiet(page, report / file)


@pytest.mark.parametrize("bars", [1, 2, 40])
def test_short_runs_without_benchmark_and_controls_are_drawn(page, tmp_path, bars):
    portfolios = plan(["s"], controls=False, benchmark=False)
    folder = write_run(tmp_path / "run", portfolios, days(bars), symbols=2)
    run = read_run(folder)
    path = folder / "report.html"
    path.write_text(report_html(run, report_metrics(run)))
    opened(page, path)
    left, top, width, height = box(page, "equity")
    page.move(left + width / 2, top + height / 2)
    values, when = legend(page, "equity")
    assert list(values) == ["s"]
    assert when in run.times.strftime("%Y-%m-%d")
    assert_quiet(page, path)


@pytest.mark.parametrize("symbol", ["AAPL", "BTC/USDT", ODD])
def test_a_forecast_is_drawn_with_its_bands_and_paths(page, tmp_path, symbol):
    path, data = forecast_page(tmp_path, symbol=symbol)
    opened(page, path)
    assert symbol in page.run("document.body.innerText")
    left, top, width, height = box(page, "forecast")
    page.move(left + 0.95 * width, top + height / 2)
    values, when = legend(page, "forecast")
    at = [f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d}" for t in data["times"]].index(when)
    assert number(values["median"]) == pytest.approx(data["bands"][2][at], abs=0.006)
    low, high = map(number, values["5 to 95 %"].split(" to "))
    assert (low, high) == pytest.approx((data["bands"][0][at], data["bands"][4][at]), abs=0.006)
    before = drawn(page, "forecast")
    names = page.texts("#forecast .legend button")
    for name in ("5 to 95 %", "8 sampled paths", "candles", "what followed"):
        page.click("#forecast .legend button", names.index(name))
        now = drawn(page, "forecast")
        assert now != before, name
        before = now
    assert_quiet(page, path)


def test_a_run_of_fifteen_thousand_fills_is_sorted_at_once(page, tmp_path):
    folder = write_run(tmp_path / "run", [entry("s", "strategy")], days(20))
    count = 15_000
    trades = pd.read_csv(folder / "trades.csv", keep_default_na=False)
    many = pd.concat([trades] * (count // len(trades) + 1))[:count]
    many["size"] = range(count)
    many.to_csv(folder / "trades.csv", index=False)
    path = folder / "fills.html"
    path.write_text(fills_html(read_run(folder)))
    assert path.stat().st_size < 1_500_000
    opened(page, path)
    sort_by(page, SIZE)
    assert rows(page, SIZE)[:2] == ["14,999", "14,998"]
    assert_quiet(page, path)
