"""What a progress bar says of its speed."""

import pytest

from sandbox.progress import _Rate, no_bar, progress_bar


class Stub:
    def __init__(self, completed, elapsed):
        self.completed, self.elapsed = completed, elapsed


@pytest.mark.parametrize(
    ("completed", "secs", "shown"),
    [(0, 1.0, "- pages/s"), (2, 5.0, "0.4 pages/s"), (12_345, 1.0, "12,345 pages/s")],
)
def test_a_slow_rate_is_not_rounded_to_nothing(completed, secs, shown):
    assert str(_Rate("pages").render(Stub(completed, secs))) == shown


def test_a_bar_is_shown_when_it_is_first_told_something(capsys):
    with progress_bar("Forecasting", "forecasts"):
        pass
    assert capsys.readouterr() == ("", "")
    with progress_bar("Forecasting", "forecasts") as progress:
        progress(3, 12)
        progress(12, 12)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Forecasting" in shown.err and "12/12" in shown.err


def test_the_bar_that_shows_nothing(capsys):
    with no_bar("Forecasting", "forecasts") as progress:
        progress(3, 12)
    assert capsys.readouterr() == ("", "")
