"""The page of one symbol's forecast, from the data that the runtime writes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reports.charts import chart_data
from reports.forecast import forecast_chart, main, read_forecast

ROOT = Path(__file__).resolve().parents[2]
DAY = 86_400
FIRST = 1_577_998_800  # 2020-01-02 21:00


def candles(first, count, generator):
    closes = 100 + generator.normal(size=count).cumsum()
    prices = [[close - 0.5, close + 1, close - 1, close] for close in closes]
    return {"times": [FIRST + DAY * (first + n) for n in range(count)], "prices": prices}


def forecast_data(symbol="AAPL", *, past=30, bars=5, followed=3, paths=8, scale=1.0):
    """As `sandbox.forecast` writes it."""
    generator = np.random.default_rng(0)
    before = candles(0, past, generator)
    close = before["prices"][-1][3]
    closes = close + generator.normal(size=(paths, bars)).cumsum(axis=1)
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    bands = np.quantile(closes, quantiles, axis=0)

    def scaled(bars):
        return bars | {"prices": (scale * np.array(bars["prices"]).reshape(-1, 4)).tolist()}

    return {
        "title": f"{symbol}, forecast as of 2020-01-31 21:00 UTC: {paths} paths of {bars} bars",
        "symbol": symbol, "past": scaled(before),
        "followed": scaled(candles(past, followed, generator)),
        "times": [FIRST + DAY * (past + n) for n in range(bars)],
        "close": scale * close, "quantiles": quantiles,
        "bands": (scale * bands).tolist(), "paths": (scale * closes).tolist(),
    }  # fmt: skip


def forecast_page(folder, **options):
    """The path of a page, and the data that it was drawn from."""
    data = forecast_data(**options)
    (folder / "data.json").write_text(json.dumps(data))
    page = folder / "page.html"
    assert main([str(folder / "data.json"), "--out", str(page), "--debug"]) == 0
    return page, data


def series_of(page):
    block = re.search(r'id="chart-data">(.*?)</script>', page.read_text())[1]
    data = json.loads(block)
    [chart] = data["charts"]
    return data, {series["name"]: series for series in chart["series"]}


def test_every_series_begins_where_it_should(tmp_path):
    page, data = forecast_page(tmp_path)
    block, series = series_of(page)
    assert block["times"] == data["past"]["times"] + data["times"]
    assert block["charts"][0]["mark"] == 29
    assert list(series) == [
        "median", "what followed", "candles", "25 to 75 %", "5 to 95 %", "8 sampled paths"
    ]  # fmt: skip
    close = round(data["close"], 3)
    expected = {
        "median": close, "25 to 75 %": [close, close], "8 sampled paths": [close] * 8
    }  # fmt: skip
    for name, start in expected.items():
        assert series[name]["values"][:29] == [None] * 29
        assert series[name]["values"][29] == start
        assert None not in series[name]["values"][29:]
    assert series["candles"]["values"][30:] == [None] * 5
    assert None not in series["candles"]["values"][:30]
    followed = series["what followed"]["values"]
    assert [value is not None for value in followed] == [False] * 30 + [True] * 3 + [False] * 2
    fan = np.array(series["8 sampled paths"]["values"][30:])
    assert fan == pytest.approx(np.array(data["paths"]).T, abs=0.006)
    low, high = np.array(series["5 to 95 %"]["values"][30:]).T
    assert low == pytest.approx(np.array(data["bands"][0]), abs=0.006)
    assert high == pytest.approx(np.array(data["bands"][4]), abs=0.006)


def test_the_figures_are_in_the_html(tmp_path):
    page, data = forecast_page(tmp_path)
    text = page.read_text()
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', text)
    assert [label for label, _ in rows] == [
        "Sat 2020-02-01 21:00", "Sun 2020-02-02 21:00", "Mon 2020-02-03 21:00",
        "Tue 2020-02-04 21:00", "Wed 2020-02-05 21:00",
    ]  # fmt: skip
    first = re.findall(r"<td[^>]*>(.*?)</td>", rows[0][1])
    assert first[:5] == [f"{band[0]:,.3f}" for band in data["bands"]]
    assert first[5] == f"{data['followed']['prices'][0][3]:,.3f}"
    assert re.findall(r"<td[^>]*>(.*?)</td>", rows[4][1])[5] == "\N{EN DASH}"
    assert page.stat().st_size < 400_000


@pytest.mark.parametrize(("scale", "places"), [(1.0, 3), (1e-6, 9), (1e5, 2)])
def test_small_prices_keep_their_digits(tmp_path, scale, places):
    page, data = forecast_page(tmp_path, scale=scale)
    assert f"{data['bands'][2][0]:,.{places}f}" in page.read_text()
    (tmp_path / "again.json").write_text(json.dumps(data))
    chart = forecast_chart(read_forecast(tmp_path / "again.json"))
    assert chart.digits == places
    [median] = [
        s for s in chart_data(range(35), [chart])["charts"][0]["series"] if s["name"] == "median"
    ]
    assert median["values"][30] == pytest.approx(data["bands"][2][0], rel=1e-3)


@pytest.mark.parametrize(
    "symbol", ["</script><b>$x", "BTC/USDT", "{{ view }}", "<!--<script>", "é\u2028"]
)
def test_symbols_of_any_kind_are_text(tmp_path, symbol):
    page, _ = forecast_page(tmp_path, symbol=symbol, followed=0)
    text = page.read_text()
    assert "<b>$x" not in text
    assert text.count("</script>") == 3
    assert "<!--" not in text
    assert "what followed" not in text
    assert "what followed" not in series_of(page)[1]


def test_the_command_says_where_the_page_is_and_imports_little(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps(forecast_data()))
    code = (
        "import sys; from reports.forecast import main; status = main(sys.argv[1:]);"
        "assert not {'pandas', 'quantstats', 'matplotlib'} & set(sys.modules); sys.exit(status)"
    )
    options = [str(tmp_path / "data.json"), "--out", str(tmp_path / "deep" / "page.html")]
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'deep' / 'page.html'}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("bands"), "lacks 'bands'"),
        (lambda d: d["bands"].pop(), "bands and quantiles are not equally many"),
        (lambda d: d["paths"][0].pop(), "a band or path does not have the 5 bars"),
        (lambda d: d.update(close=0), "the close at asof is 0.0, and must be above 0"),
        (lambda d: d.update(close=float("nan")), "NaN is not a number"),
        (lambda d: d["times"].reverse(), "the times do not ascend"),
        (lambda d: d["past"].update(times=[], prices=[]), "it has no candle up to asof"),
        (lambda d: d["past"]["prices"].pop(), "candles and their times are not equally many"),
        (lambda d: d["past"]["prices"][3].pop(), "a candle has other than four prices"),
        (lambda d: d.update(followed=d["past"]), "more candles followed than are forecast"),
    ],
)
def test_data_that_do_not_fit_are_told_in_one_line(tmp_path, capsys, change, message):
    data = forecast_data()
    change(data)
    path = tmp_path / "data.json"
    path.write_text(json.dumps(data))
    assert main([str(path), "--out", str(tmp_path / "page.html")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is not a forecast: ")
    assert message in line
    assert not (tmp_path / "page.html").exists()


def test_a_file_that_is_no_json_and_a_page_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "data.json").write_text("{")
    assert main([str(tmp_path / "data.json"), "--out", str(tmp_path / "page.html")]) == 1
    assert "is not a forecast: Expecting" in capsys.readouterr().err
    (tmp_path / "data.json").write_text(json.dumps(forecast_data()))
    (tmp_path / "page.html").mkdir()
    assert main([str(tmp_path / "data.json"), "--out", str(tmp_path / "page.html")]) == 1
    assert "page.html cannot be written: " in capsys.readouterr().err
