"""`python -m reports.tearsheet RUN_FOLDER`: write its report.html, from its files alone.

The page is quantstats' tear sheet of the strategy against the benchmark, under a header with what
quantstats does not know: costs, turnover and what to doubt. It opens without a network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from reports.folder import ReportError, Run, read_run
from reports.header import header

FEWEST_DAYS = 10  # fewer make no distribution, no month and no rolling window to draw

_BARE_PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title></title></head>'
    "<body><p style='max-width:960px;margin:auto'>{reason}</p></body></html>"
)


def write_tearsheet(folder: Path) -> Path:
    """Write `folder/report.html` and return its path."""
    run = read_run(folder)
    reason = _why_no_charts(run)
    page = _BARE_PAGE.format(reason=escape(reason)) if reason else _quantstats_page(run)
    target = folder / "report.html"
    target.write_text(_dressed(page, run), encoding="utf-8")
    return target


def _why_no_charts(run: Run) -> str | None:
    value = _value_by_day(run)
    if (value[run.name] == run.cash).all():
        return f"{run.name} never traded, so there is nothing to chart."
    if len(value) < FEWEST_DAYS:
        return f"{len(value)} days are too few to chart."
    return None


def _value_by_day(run: Run) -> pd.DataFrame:
    """The last value of each day, one column a strategy; quantstats wants times without a zone."""
    index = run.value.index
    assert isinstance(index, pd.DatetimeIndex)
    return run.value.groupby(index.tz_localize(None).normalize()).last()


def _daily_returns(run: Run) -> pd.DataFrame:
    value = _value_by_day(run)
    returns = value / value.shift(fill_value=run.cash) - 1
    if (returns.iloc[0] != 0).any():  # quantstats finds no drawdown that began on the first day
        day_before = pd.date_range(end=value.index[0], periods=2, freq="D")[:1]
        returns = pd.concat([pd.DataFrame(0.0, day_before, returns.columns), returns])
    return returns


def _quantstats_page(run: Run) -> str:
    returns = _daily_returns(run)
    weekends = bool((pd.DatetimeIndex(returns.index).day_of_week >= 5).any())
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        import quantstats

        page = Path(scratch) / "page.html"
        quantstats.reports.html(  # type: ignore[no-untyped-call]
            returns[run.name],
            benchmark=returns[run.benchmark],
            title="Tear sheet",
            strategy_title=run.name,
            benchmark_title=run.benchmark,
            match_dates=False,  # both start on the first day and share every day already
            periods_per_year=365 if weekends else 252,
            output=str(page),
        )
        return page.read_text(encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep quantstats' fonts, warnings and prints off the console, and charts off the screen."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _dressed(page: str, run: Run) -> str:
    """The page under our header, with nothing left that a browser would fetch or call."""
    page = re.sub(r"<link\b[^>]*>", "", page)
    page = re.sub(r"<script\b[^>]*\bsrc=[^>]*>\s*</script>", "", page)
    page = page.replace(' onload="save()"', "").replace("CAGR﹪", "CAGR")
    # its bars of yearly returns stand over the wrong years; the table beside them is right
    page = re.sub(r'<div id="eoy_returns">.*?</div>', "", page, count=1, flags=re.DOTALL)
    title = f"<title>{escape(run.name)} against {escape(run.benchmark)}</title>"
    page = re.sub(r"<title>.*?</title>", lambda _: title, page, count=1, flags=re.DOTALL)
    return re.sub(r"<body[^>]*>", lambda body: body[0] + header(run), page, count=1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.tearsheet", description="Write a run folder's report.html."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    try:
        print(write_tearsheet(args.folder))
    except Exception as error:
        if args.debug:
            raise
        known = isinstance(error, ReportError)
        print(f"error: {'' if known else type(error).__name__ + ': '}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
