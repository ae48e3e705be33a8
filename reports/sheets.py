"""quantstats' full tear sheet of each strategy against the benchmark, one HTML file each.

Of a parameter sweep the best combination alone has one.

Sheets are drawn in processes of their own, since one takes seconds.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd

from reports.files import ReportError, draft_path, write_whole
from reports.folder import Run
from reports.interrupts import begin_worker, tidied
from reports.metrics import periods_of, returns_of
from reports.pages import fragment
from reports.quant import draw_unseen, load_quantstats, quiet, sheet, why_no_sheet
from reports.sweeps import subjects

FOLDER = "tearsheets"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # of what a page may load


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
    load_quantstats()  # once, before the processes part
    gc.freeze()  # what the libraries made is not looked through again, here or in the processes
    crew: list[_Worker] = []

    def end() -> None:
        for worker in crew:
            worker.end()

    with tidied(end):
        try:
            for nth in range(workers):
                crew.append(_Worker(tasks[nth::workers]))
            yield
            for worker in crew:
                worker.finish()
        finally:
            end()
            gc.unfreeze()


class _Worker:
    """A forked process that draws its sheets one after the other, and says when one is done."""

    def __init__(self, tasks: Sequence[_Task]) -> None:
        self._tasks = tasks
        self._messages, theirs = multiprocessing.Pipe(duplex=False)
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_draw_all, args=(tasks, theirs, os.getpid()))
        with warnings.catch_warnings():  # from 3.12 on, of threads: a sheet needs none of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def finish(self) -> None:
        """Wait until all are drawn; raises what kept one from it."""
        for task in self._tasks:
            try:
                failed = self._messages.recv()
            except (EOFError, OSError):
                failed = f"the process that drew it {self._exit_text()}"
            if failed:
                raise ReportError(f"the tear sheet of {task.name} could not be drawn: {failed}")

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        for task in self._tasks:
            draft_path(task.path, self._process.pid).unlink(missing_ok=True)

    def _exit_text(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "was killed by SIGKILL, which the system does when memory runs out"
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


def _draw_all(tasks: Sequence[_Task], messages: Connection, parent: int) -> None:
    begin_worker(parent)
    gc.disable()  # it ends soon, and a tenth of its time would go there
    draw_unseen()
    for task in tasks:
        try:
            with quiet():
                _draw(task)
            messages.send("")
        except Exception as error:
            # a full disk, without its number
            messages.send(str(getattr(error, "strerror", None) or error or type(error).__name__))
            return


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
    lines = list(task.lines)
    if reason:
        page = fragment("no_sheet.html")
        lines.append(f"No tear sheet of {task.name}: {reason}.")
    else:
        page = sheet(task.returns, task.periods, _titles(task.rivals))
        if len(task.rivals) > 1 and why_no_sheet(task.returns[task.rivals[1]]):
            lines.append(f"Without {task.rivals[1]}: its value never moved.")
    write_whole(task.path, _with_header(page, " against ".join(task.rivals), lines))


def _titles(rivals: Sequence[str]) -> list[str]:
    """Names as quantstats may print them: it escapes nothing, and reads $ and {{ as commands."""
    plain = [bool(re.fullmatch(r"[\w .:+=,\[\]-]{1,40}", name)) for name in rivals]
    stand_ins = ("Strategy", "Benchmark")
    return [
        name if ok else stand_in
        for name, ok, stand_in in zip(rivals, plain, stand_ins, strict=False)
    ]


def _with_header(page: str, title: str, lines: Sequence[str]) -> str:
    """The page under our header, with nothing left that a browser would fetch or call."""
    page = re.sub(r"<link\b[^>]*>", "", page)
    page = re.sub(r"<script\b[^>]*\bsrc=[^>]*>\s*</script>", "", page)
    page = re.sub(r"<!DOCTYPE svg[^>]*>|<\?xml[^>]*\?>", "", page)
    page = re.sub(r"<metadata>.*?</metadata>", "", page, flags=re.DOTALL)
    page = page.replace(' onload="save()"', "").replace("CAGR﹪", "CAGR")
    # the place of a chart that is left out
    page = re.sub(r'<div id="eoy_returns">.*?</div>', "", page, count=1, flags=re.DOTALL)
    header = fragment("sheet_header.html", title=title, lines=lines)
    head = fragment("sheet_head.html", title=title, policy=POLICY)
    edits: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"<title>.*?</title>", lambda _: head),
        (r"<body[^>]*>", lambda body: body[0] + header),
    ]
    for pattern, edit in edits:
        page = re.sub(pattern, edit, page, count=1, flags=re.DOTALL)
    return page
