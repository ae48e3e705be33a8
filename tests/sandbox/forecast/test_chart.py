"""A forecast as data for its page, and the page and image that are drawn of it."""

import json

import numpy as np
import pytest

from kronos import Forecast
from reports.forecast import read_forecast
from sandbox.errors import RunFolderError
from sandbox.forecast.chart import (
    CLOSE,
    PATHS_DRAWN,
    QUANTILES,
    Picture,
    forecast_data,
    write_html,
    write_png,
)
from tests.conftest import make_market


def picture(symbol="AAPL", *, bars=5, paths=120, followed=3, past=20):
    frame = make_market(["x"], past + bars)["x"]
    generator = np.random.default_rng(0)
    close = float(frame["close"].iloc[past - 1])
    sampled = close + generator.normal(size=(paths, bars, 6)).cumsum(axis=1)
    forecast = Forecast(
        symbol=symbol, asof=frame.index[past - 1], index=frame.index[past:], paths=sampled,
        close=close,
    )  # fmt: skip
    return Picture(forecast, past=frame[:past], actual=frame[past : past + followed])


def test_the_data_are_the_candles_the_quantiles_and_as_many_paths_as_are_drawn(tmp_path):
    shown = picture()
    data = forecast_data(shown)
    forecast = shown.forecast
    assert data["past"]["times"] == [int(time.timestamp()) for time in shown.past.index]
    assert data["past"]["prices"][-1] == list(shown.past.iloc[-1, :4])
    assert data["followed"]["prices"] == shown.actual.iloc[:, :4].to_numpy().tolist()
    assert data["times"] == [int(time.timestamp()) for time in forecast.index]
    closes = forecast.paths[:, :, CLOSE]
    assert data["bands"] == np.quantile(closes, QUANTILES, axis=0).tolist()  # of all paths
    assert data["paths"] == closes[:PATHS_DRAWN].tolist()
    (tmp_path / "data.json").write_text(json.dumps(data))
    assert read_forecast(tmp_path / "data.json").title == shown.title


@pytest.mark.parametrize("symbol", ["BTC/USDT", "</script><b>$x", "$a_{b}$ {{x}}"])
@pytest.mark.parametrize("followed", [0, 5])
def test_any_symbol_and_any_number_of_bars_that_followed_are_drawn(tmp_path, symbol, followed):
    shown = picture(symbol, followed=followed)
    write_html(shown, tmp_path / "deep" / "page.html")
    page = (tmp_path / "deep" / "page.html").read_text()
    assert len(page) < 400_000
    assert "<b>$x" not in page
    assert ("what followed" in page) is bool(followed)
    write_png(shown, tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "page.png"]


def test_a_page_that_cannot_be_written_is_told_with_its_reason(tmp_path):
    (tmp_path / "page.html").mkdir()
    message = r"^the forecast's page could not be written: .*page\.html cannot be written: "
    with pytest.raises(RunFolderError, match=message):
        write_html(picture(), tmp_path / "page.html")


def test_a_forecast_that_holds_no_number_is_not_drawn(tmp_path):
    shown = picture()
    shown.forecast.paths[0, 0, CLOSE] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_html(shown, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
