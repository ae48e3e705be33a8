"""What a strategy's code opens, lists, starts or connects to while it is loaded and trades.

Python's audit events tell of files that Python opens, folders, processes and connections. Arrow
opens files without one, so its readers are wrapped; and what any other library reads behind
Python's back shows in the system's count of the bytes that this process has read (Linux), though
not which file it was. A question such as `os.path.exists` is not seen.

Left out are the standard library and installed packages, the system's time zones and its devices,
and what a library reads while it is imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

ROOT = Path(__file__).resolve().parents[2]
LOADING = -1  # no bar yet: the strategy's file is being read
SLACK_BYTES = 1024  # a bar: what the system itself reads, such as its settings
LIBRARY_BYTES = 64 << 10  # what the system reads of a compiled module to load it

FILES = {"open", "sqlite3.connect"}
FOLDERS = {"os.listdir", "os.scandir"}
CHANGES = {
    "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "os.truncate", "os.utime",
}  # fmt: skip
PROCESSES = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system",
    "subprocess.Popen",
}  # fmt: skip
CONNECTIONS = {"socket.connect", "socket.sendto"}
WORDS = (
    dict.fromkeys(FILES, "opened")
    | dict.fromkeys(FOLDERS, "listed")
    | dict.fromkeys(CHANGES, "changed")
    | dict.fromkeys(PROCESSES, "started a process")
    | dict.fromkeys(CONNECTIONS, "connected to")
    | {"ctypes.dlopen": "loaded the C library", "import": ""}
)
OF_PLACES = {"opened", "imported", "listed", "changed"}
SYSTEM = (
    "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty", "/etc/localtime",
    "/etc/timezone", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/", "/sys/fs/cgroup/",
    "/usr/lib/locale/", "/usr/share/locale/", "/usr/share/zoneinfo/",
)  # fmt: skip
OWN_PACKAGES = tuple(
    f"{ROOT / name}{os.sep}" for name in ("feeds", "kronos", "ray_jobs", "reports", "sandbox")
)


class Touch(NamedTuple):
    """Something outside that was reached for."""

    what: str  # one of `WORDS`
    target: str  # a path with no link left in it, or what was started or connected to
    bars_done: int  # of the run, when it happened; or LOADING

    def words(self) -> str:
        return f"{self.what} {self.target}".strip()


class Reads:
    """What is seen while a strategy is watched, in the order it happened."""

    def __init__(self) -> None:
        self.touches: list[Touch] = []
        self.bars_done = LOADING
        self._bytes = _BytesRead()

    def begin(self) -> None:
        """The file has been loaded."""
        self.bar_closed(0)

    def bar_closed(self, bars_done: int) -> None:
        unseen = self._bytes.unaccounted()
        if unseen > SLACK_BYTES:
            self.add("read", f"{unseen:,} bytes of files that Python did not open")
        self.bars_done = bars_done

    def add(self, what: str, target: str) -> None:
        touch = Touch(what, target, self.bars_done)
        if all((touch.what, touch.target) != seen[:2] for seen in self.touches):
            self.touches.append(touch)

    def opened(self, path: Any, what: str = "opened") -> None:
        """A file that is opened; what is read of it is accounted for."""
        target = _real(path)
        if target is not None:
            with suppress(OSError):
                self._bytes.allow(os.stat(target).st_size)  # noqa: PTH116 - a tenth of the time
            if not is_library(target):
                if target.endswith(".pyc"):
                    target = _source(target)
                self.add(what if is_module(target) else "opened", target)

    def saw(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit event that is in `WORDS`."""
        if event == "import":
            if len(args) > 1 and args[1]:
                self._bytes.allow(LIBRARY_BYTES)  # a compiled one: the others are opened
            return
        inside_import, direct = _importing()
        if event in FILES:
            if args and args[0] != ":memory:" and (direct or not inside_import):
                self.opened(args[0], "imported" if direct else "opened")
            elif args:
                self._allow_file(args[0])
        elif not inside_import:
            self._other(event, args)

    def _other(self, event: str, args: tuple[Any, ...]) -> None:
        if event in FOLDERS | CHANGES:
            target = _real(args[0] if args and args[0] is not None else ".")
            if target is None or is_library(target + os.sep):
                return
            self.add(WORDS[event], target)
        elif event == "ctypes.dlopen":
            target = _real(args[0]) if args and args[0] else None
            if target is None or not is_library(target):
                self.add(WORDS[event], target or "of this process")
        else:
            self.add(WORDS[event], _described(event, args))

    def _allow_file(self, path: Any) -> None:
        target = _real(path)
        if target is not None:
            with suppress(OSError):
                self._bytes.allow(os.stat(target).st_size)  # noqa: PTH116 - as above


class _BytesRead:
    """The system's count of what this process has read, less what is known of."""

    def __init__(self) -> None:
        self._file = -1
        with suppress(OSError):
            self._file = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
        self._pid = os.getpid()
        self._allowed = 0
        self._before = self._count()

    def allow(self, size: int) -> None:
        self._allowed += size

    def unaccounted(self) -> int:
        """Since it was last asked; 0 where the system does not count."""
        now = self._count()
        more, self._before = now - self._before - self._allowed, now
        self._allowed = 0
        return more

    def _count(self) -> int:
        if self._file < 0:
            return 0
        text = os.pread(self._file, 128, 0)
        self._allowed += len(text)  # counted by the system the next time
        return int(text.split(None, 2)[1])

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_watching: Reads | None = None
_hooked = False


@contextmanager
def watched() -> Iterator[Reads]:
    """What happens in this block is seen; one block at a time in a process."""
    global _watching, _hooked
    reads = Reads()
    if not _hooked:  # for good: a hook cannot be taken away
        sys.addaudithook(_hook)
        _hooked = True
    with _wrapped_readers():
        _watching = reads
        try:
            yield reads
        finally:
            _watching = None
            reads._bytes.close()


def data_files(spec: str) -> tuple[str, ...]:
    """Where the candles of a data spec are: files, or folders that end in a slash."""
    shipped = f"{ROOT / 'feeds' / 'sample'}{os.sep}"
    scheme, _, rest = spec.partition(":")
    if scheme == "sample" or not rest:
        return (shipped,)
    pattern = rest.partition("?")[0]
    folder = Path(pattern.partition("*")[0].partition("[")[0])
    found = [Path(pattern)] if Path(pattern).exists() else []
    if "*" in pattern or "?" in pattern or "[" in pattern:
        at = folder if folder.is_dir() else folder.parent
        found += [path for path in at.rglob("*") if path.match(Path(pattern).name)]
    return (
        shipped,
        *(f"{real}{os.sep}" if real.is_dir() else str(real) for real in map(Path.resolve, found)),
    )


def judged(
    touches: Iterable[Touch], own_folder: Path, data: Iterable[str]
) -> tuple[list[Touch], list[Touch]]:
    """What the proof cannot stand for, and what is only worth a note: other files in the
    strategy's own folder, and modules of its own elsewhere. Its modules there are neither."""
    data = tuple(data)
    own = f"{own_folder.resolve()}{os.sep}"
    outside, notes = [], []
    for touch in touches:
        is_data = any(
            touch.target.startswith(place) if place.endswith(os.sep) else touch.target == place
            for place in data
        )
        in_own = f"{touch.target}{os.sep}".startswith(own) and touch.what in OF_PLACES
        if is_data or not (in_own or touch.what == "imported"):
            outside.append(touch)
        elif not (in_own and is_module(touch.target)):
            notes.append(touch)
    return outside, notes


def _hook(event: str, args: tuple[Any, ...]) -> None:
    reads = _watching
    if reads is not None and event in WORDS:
        reads.saw(event, args)


def _importing() -> tuple[bool, bool]:
    """Whether a library is being imported and reads this, and whether it is Python's own import
    machinery that reads, a module's file."""
    frame: FrameType | None = sys._getframe(3)
    direct = frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return True, direct
        if not is_library(name):
            return False, False
        frame = frame.f_back
    return False, False


def _described(event: str, args: tuple[Any, ...]) -> str:
    if event == "subprocess.Popen" and len(args) > 1:
        command = args[1]
        text = command if isinstance(command, str) else " ".join(map(str, command))
    elif event in CONNECTIONS:
        text = str(args[-1])
    else:
        text = str(args[0]) if args else event
    return text if len(text) <= 80 else f"{text[:77]}..."


def _real(path: Any) -> str | None:
    """The path with no link left in it; None of what is no path, such as a file's number."""
    try:
        text = os.fsdecode(path)
        if text.startswith("file:"):  # as SQLite takes them
            text = text.removeprefix("file:").partition("?")[0]
        return os.path.realpath(text)
    except (TypeError, ValueError):
        return None


def _source(compiled: str) -> str:
    """The module that a compiled file is of."""
    try:
        return importlib.util.source_from_cache(compiled)
    except ValueError:
        return compiled


@functools.cache
def _library_places() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    with suppress(Exception):
        paths += [*site.getsitepackages(), site.getusersitepackages()]
    both = {p for path in paths if path for p in (path, os.path.realpath(path))}
    return tuple(f"{path}{os.sep}" for path in both)


@functools.lru_cache(maxsize=4096)
def is_library(path: str) -> bool:
    """Python's own files, installed packages, this project's modules, what the system has."""
    if path.startswith(OWN_PACKAGES):
        return is_module(path)
    return (
        path.startswith((*_library_places(), *SYSTEM, "<frozen "))
        or path == os.path.realpath(sys.executable)
        or path == f"{ROOT}{os.sep}"
        or (path.endswith((".so", ".pyd")) and os.sep not in path)
    )


def is_module(path: str) -> bool:
    return path.endswith((".py", ".pyc")) or f"{os.sep}__pycache__{os.sep}" in path


# Readers that open files without Python

_READERS: tuple[tuple[Any, str], ...] = (
    (pd, "read_parquet"), (pd, "read_feather"), (pd, "read_orc"),
    (pa, "memory_map"), (pa.lib, "memory_map"), (pa, "input_stream"), (pa.lib, "input_stream"),
    (pyarrow.parquet, "read_table"), (pyarrow.parquet, "read_metadata"),
    (pyarrow.parquet, "read_schema"), (pyarrow.parquet, "read_pandas"),
    (pyarrow.parquet.ParquetFile, "__init__"), (pyarrow.parquet.ParquetDataset, "__init__"),
    (pyarrow.dataset, "dataset"),
)  # fmt: skip


@contextmanager
def _wrapped_readers() -> Iterator[None]:
    originals = [(owner, name, getattr(owner, name)) for owner, name in _READERS]
    for owner, name, original in originals:
        setattr(owner, name, _wrapped(original, 1 if name == "__init__" else 0))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _wrapped(original: Callable[..., Any], place: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def reader(*args: Any, **more: Any) -> Any:
        if _watching is not None:
            given = args[place] if len(args) > place else next(iter(more.values()), None)
            for path in given if isinstance(given, list | tuple) else [given]:
                if isinstance(path, str | bytes | os.PathLike):
                    _watching.opened(path)
        return original(*args, **more)

    return reader
