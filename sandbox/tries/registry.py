"""The registry of tries: `tries.jsonl`, beside the run folders that it counts.

It is in the folder that a run folder is in: for `runs/topk-sample` it is `runs/tries.jsonl`, for
`--out /data/mine/first` it is `/data/mine/tries.jsonl`. Runs whose folders are in different places
do not know of each other. The two runs of a walk-forward are counted beside the walk-forward's own
folder.

Lines are only added. Writers take turns by a lock on the file (`flock`), which a process that dies
gives back. A file that cannot be read as a registry of this version is renamed to
`tries.set-aside-N.jsonl`, and a new one begun that says so; nothing is ever overwritten.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.tries.contents import Contents, Counted, read_contents
from sandbox.tries.lines import forgotten_line, header, line_of
from sandbox.tries.tried import Scored, Tried, TriedOn

FILE = "tries.jsonl"
PATIENCE_SECS = 10.0  # for others that write


class TriesError(SandboxError):
    """The registry of tries cannot be read or written."""


class Registry:
    """The registry in a folder; the file is made when the first try is added."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> Contents:
        """Raises TriesError where there is a file that cannot be opened."""
        try:
            return read_contents(_settled(self.path) if self.path.exists() else b"")
        except OSError as error:
            raise self._error("read", error) from error

    def add(self, run: TriedOn) -> str:
        """Count what the run tried; what was tried before, with the same outcome, adds nothing.

        Returns what has to be told: that an older registry was set aside, or nothing. Raises
        TriesError where the file cannot be written.
        """
        try:
            return self._add(run)
        except OSError as error:
            raise self._error("written", error) from error

    def _add(self, run: TriedOn) -> str:
        said = ""
        with self._locked() as file:
            contents = read_contents(_content(file))
            if not contents.unreadable:
                _append(file, _new(run, contents), empty=not os.fstat(file).st_size)
                return said
            aside = self._set_aside()
            said = (
                f"{self.path} could not be read ({contents.unreadable}): it is kept as "
                f"{aside.name}, and tries are counted anew."
            )
        told = [{"file": aside.name, "why": contents.unreadable, "when": run.when}]
        with self._locked() as file:
            size = os.fstat(file).st_size
            if not size:  # else another run was faster, and has begun one
                _write(file, header(told))
            _append(file, _new(run, read_contents(_content(file))), empty=False)
        return said

    def forget(self, keys: Collection[str], when: str) -> int:
        """Count the tries with these keys no more, from now on; a mark says so. How many they
        were."""
        try:
            if not self.path.exists():
                return 0
            with self._locked() as file:
                contents = read_contents(_content(file))
                gone = [key for key in contents.tries if key in keys]
                if gone:
                    _append(file, forgotten_line(gone, when), empty=False)
                return len(gone)
        except OSError as error:
            raise self._error("written", error) from error

    def _set_aside(self) -> Path:
        """Rename the file, whose lock is held."""
        number = 1
        while (aside := self.path.with_name(f"tries.set-aside-{number}.jsonl")).exists():
            number += 1
        return self.path.rename(aside)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, whose lock is this process's own; it is made where there is none."""
        file = self._opened()
        try:
            yield file
        finally:
            os.close(file)

    def _opened(self) -> int:
        end = time.monotonic() + PATIENCE_SECS
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError("it is not a file")
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_in_place(file):
                    return file
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(file)
                    raise OSError(f"another process has held it for {PATIENCE_SECS:g} s") from None
            except BaseException:
                os.close(file)
                raise
            os.close(file)
            time.sleep(0.01)

    def _is_in_place(self, file: int) -> bool:
        """Whether nobody has set it aside before the lock was ours."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), self.path.stat())
        return False

    def _error(self, done: str, error: OSError) -> TriesError:
        reason = error.strerror or str(error)
        return TriesError(f"the registry of tries {self.path} cannot be {done} ({reason})")


def _settled(path: Path) -> bytes:
    """The file's bytes; where its last line has no end, once nobody is writing it any more."""
    content = path.read_bytes()
    while content and not content.endswith(b"\n"):
        time.sleep(0.05)
        before, content = content, path.read_bytes()
        if content == before:
            break
    return content


def _new(run: TriedOn, contents: Contents) -> bytes:
    """The line of what is not known yet of a run; nothing where all is."""
    left = tuple(each for each in run.tries if not _same(each, contents.tries.get(each.key)))
    return line_of(replace(run, tries=left)) if left else b""


def _same(tried: Tried | Scored, known: Counted | None) -> bool:
    """Whether it is known, with the returns that it has, if it has any."""
    if known is None or isinstance(tried, Scored) or isinstance(known.tried, Scored):
        return known is not None
    return known.tried.returns.tobytes() == tried.returns.tobytes()


def _content(file: int) -> bytes:
    size = os.fstat(file).st_size
    parts, done = [], 0
    while done < size and (part := os.pread(file, size - done, done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def _append(file: int, line: bytes, *, empty: bool) -> None:
    """Add a line at the end, after one that was left half written, if there is one."""
    if not line:
        return
    size = os.fstat(file).st_size
    torn = size and os.pread(file, 1, size - 1) != b"\n"
    _write(file, (header() if empty else b"\n" if torn else b"") + line)


def _write(file: int, content: bytes) -> None:
    """All of it, or nothing where the disk is full."""
    before = os.fstat(file).st_size
    try:
        done = 0
        while done < len(content):
            done += os.write(file, content[done:])
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise
