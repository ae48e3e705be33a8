"""quantstats' full tear sheet of each strategy against the benchmark, one HTML file each.

Of a parameter sweep the best combination alone has one.

Sheets are drawn in processes of their own, since one takes seconds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from reports.folder import ReportError, Run, write_whole
from reports.metrics import periods_of, returns_of
from reports.quant import quiet, sheet, why_no_sheet
from reports.sweeps import subjects

FOLDER = "tearsheets"
_STYLE = """<style>
.run{max-width:960px;margin:0 auto 24px;font:14px/1.5 system-ui,sans-serif}
.run h1{font-size:24px;font-weight:600;margin:0 0 4px}
.run p{font:inherit;color:#555;margin:0 0 6px}
@media(max-width:1019px){body{margin:14px!important}
#left,#right{float:none!important;width:auto!important;margin:0 0 20px!important;overflow-x:auto}
#left svg,#monthly_heatmap svg{height:auto!important;margin:0!important;min-width:520px}
#right h3{margin-top:14px}}
</style>"""
_BARE_PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title></title></head>'
    "<body></body></html>"
)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One sheet to draw; plain data, so that another process can."""

    name: str
    path: Path
    rivals: list[str]  # the strategy, and the benchmark if there is one
    returns: pd.DataFrame
    periods: int
    lines: list[str]  # under the title


def sheet_files(names: Sequence[str]) -> dict[str, str]:
    """A file name for each portfolio: safe on every system, and no two the same."""
    files: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80] or "portfolio"
        taken = {file.lower() for file in files.values()}
        nth, file = 2, f"{stem}.html"
        while file.lower() in taken:
            nth, file = nth + 1, f"{stem}-{nth}.html"
        files[name] = file
    return files


@contextlib.contextmanager
def drawing(run: Run) -> Iterator[None]:
    """Draw every strategy's sheet while the body runs; done when it ends."""
    tasks = _tasks(run)
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        yield  # another process would import quantstats anew, which takes as long as a sheet
        for task in tasks:
            _draw(task)
        return
    workers = min(len(tasks), len(os.sched_getaffinity(0)))
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, fork, initializer=_leave_interrupts) as pool:
        with quiet():
            import quantstats  # noqa: F401  # once, before the processes part

            drawn = [pool.submit(_draw, task) for task in tasks]
        yield
        for future in drawn:
            _finish(future)


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that the user started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _finish(future: Future[None]) -> None:
    try:
        future.result()
    except ReportError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or error  # a full disk, without its number
        raise ReportError(f"a tear sheet could not be drawn: {reason}") from error


def _tasks(run: Run) -> list[_Task]:
    rows = slice(0, len(run.times))
    files = sheet_files([p.name for p in subjects(run)])
    benchmark = [run.benchmark.name] if run.benchmark else []
    return [
        _Task(
            name=name,
            path=run.folder / FOLDER / file,
            rivals=[name, *benchmark],
            returns=pd.DataFrame({n: returns_of(run, n, rows) for n in (name, *benchmark)}),
            periods=periods_of(run),
            lines=[
                f"{run.record['data']['spec']}, {run.times[0]:%Y-%m-%d} to {run.times[-1]:%Y-%m-%d}"
                ", daily returns after all costs",
            ],
        )
        for name, file in files.items()
    ]


def _draw(task: _Task) -> None:
    reason = why_no_sheet(task.returns[task.name])
    if reason:
        page, lines = _BARE_PAGE, [*task.lines, f"No tear sheet of {task.name}: {reason}."]
    else:
        page, lines = sheet(task.returns, task.periods, _titles(task.rivals)), list(task.lines)
        if len(task.rivals) > 1 and why_no_sheet(task.returns[task.rivals[1]]):
            lines.append(f"Without {task.rivals[1]}: its value never moved.")
    write_whole(task.path, _dressed(page, " against ".join(task.rivals), lines))


def _titles(rivals: Sequence[str]) -> list[str]:
    """Names as quantstats may print them: it escapes nothing, and reads $ and {{ as commands."""
    plain = [bool(re.fullmatch(r"[\w .:+=,\[\]-]{1,40}", name)) for name in rivals]
    stand_ins = ("Strategy", "Benchmark")
    return [
        name if ok else stand_in
        for name, ok, stand_in in zip(rivals, plain, stand_ins, strict=False)
    ]


def _dressed(page: str, title: str, lines: Sequence[str]) -> str:
    """The page under our header, with nothing left that a browser would fetch or call."""
    page = re.sub(r"<link\b[^>]*>", "", page)
    page = re.sub(r"<script\b[^>]*\bsrc=[^>]*>\s*</script>", "", page)
    page = re.sub(r"<!DOCTYPE svg[^>]*>|<\?xml[^>]*\?>", "", page)
    page = re.sub(r"<metadata>.*?</metadata>", "", page, flags=re.DOTALL)
    page = page.replace(' onload="save()"', "").replace("CAGR﹪", "CAGR")
    # its bars of yearly returns stand over the wrong years; the table beside them is right
    page = re.sub(r'<div id="eoy_returns">.*?</div>', "", page, count=1, flags=re.DOTALL)
    told = "".join(f"<p>{escape(line)}</p>" for line in lines)
    header = (
        f'{_STYLE}<div class="run"><h1>{escape(title)}</h1>{told}'
        '<p><a href="../report.html">Back to the report</a></p></div>'
    )
    edits: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"<title>.*?</title>", lambda _: f"<title>{escape(title)}</title>"),
        (r"<body[^>]*>", lambda body: body[0] + header),
    ]
    for pattern, edit in edits:
        page = re.sub(pattern, edit, page, count=1, flags=re.DOTALL)
    return page
