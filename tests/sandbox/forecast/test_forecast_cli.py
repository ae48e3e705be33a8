"""One symbol's forecast from the command line, with a stand-in for the model."""

import pytest

from sandbox.forecast.__main__ import _places, main

pytestmark = pytest.mark.usefixtures("fake_model")


def test_a_forecast_is_a_table_and_two_charts(tmp_path, capsys):
    options = ["--symbol", "AAPL", "--asof", "2024-06-02", "--samples", "8", "--out", str(tmp_path)]
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert "Mon 2024-06-03 20:00" in shown
    assert "Fri 2024-06-07 20:00" in shown
    assert "Close at 2024-05-31" in shown
    assert "of 8 paths rise" in shown
    assert "Sampled candles repaired" in shown
    page = (tmp_path / "AAPL-2024-05-31T2000.html").read_text()
    assert 'src="http' not in page
    assert "what followed" in page
    assert (tmp_path / "AAPL-2024-05-31T2000.png").read_bytes().startswith(b"\x89PNG")


def test_the_last_bar_has_nothing_that_followed(tmp_path):
    assert main(["--symbol", "XOM", "--out", str(tmp_path)]) == 0
    [page] = tmp_path.glob("*.html")
    assert page.name == "XOM-2024-12-31T2100.html"
    assert "what followed" not in page.read_text()


def test_symbols_are_escaped_in_pages_and_file_names(tmp_path):
    data = tmp_path / "A<script>.csv"
    rows = [f"2024-01-{day:02d},9,11,8,10,5" for day in range(1, 31)]
    data.write_text("\n".join(["date,open,high,low,close,volume", *rows]))
    options = ["--data", f"csv:{tmp_path}/*.csv", "--lookback", "20", "--out", str(tmp_path / "o")]
    assert main([*options, "--symbol", "A<script>"]) == 0
    [page] = (tmp_path / "o").glob("*.html")
    assert page.name.startswith("A-script-")
    assert "A<script>" not in page.read_text()


@pytest.mark.parametrize(
    ("options", "first_two"),
    [
        ([], ["Fri 2024-07-05 20:00", "Mon 2024-07-08 20:00"]),
        (["--calendar", "XNYS"], ["Fri 2024-07-05 20:00", "Mon 2024-07-08 20:00"]),
        (["--calendar", "none"], ["Thu 2024-07-04 20:00", "Fri 2024-07-05 20:00"]),
    ],
)
def test_the_sample_is_shut_on_the_fourth_of_july(tmp_path, capsys, options, first_two):
    asked = ["--symbol", "AAPL", "--asof", "2024-07-03", "--horizon", "2", "--out", str(tmp_path)]
    assert main([*asked, *options]) == 0
    shown = capsys.readouterr().out
    assert all(close in shown for close in first_two)


def test_the_philippine_sample_is_shut_on_its_own_holidays(tmp_path, capsys):
    """Rizal Day and the last day of the year: 30 and 31 December 2019."""
    asked = ["--data", "sample:ph", "--symbol", "BDO", "--asof", "2019-12-27", "--horizon", "1"]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    assert "Thu 2020-01-02 07:30" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("price", "places"), [(209.9, 2), (40_000.0, 2), (9.5, 4), (0.1044, 5), (0.0000532, 9)]
)
def test_small_prices_are_shown_to_five_digits(price, places):
    assert _places(price) == places


def test_a_place_that_cannot_hold_charts_is_told(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["--symbol", "AAPL", "--out", str(tmp_path / "taken")]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line == (
        f"error: cannot write charts to {tmp_path}/taken: File exists; choose another --out"
    )


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--symbol", "APPL"], 1, "no symbol 'APPL'; did you mean AAPL?"),
        (["--symbol", "AAPL", "--asof", "2001-01-01"], 1,
         "AAPL has no bar by 2001-01-01: its first is 2015-01-02"),
        (["--symbol", "AAPL", "--asof", "2015-01-09"], 1,
         "AAPL has 6 bars up to 2015-01-09, and 90 are needed: choose a later --asof"),
        (["--symbol", "AAPL", "--samples", "0"], 2, "--samples 0: input should be greater"),
    ],
)  # fmt: skip
def test_errors_are_one_line(capsys, options, status, message):
    assert main(options) == status
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
