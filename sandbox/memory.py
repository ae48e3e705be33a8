"""How much memory this process may still take, and what to tell where that is too little.

Read from what Linux says: the machine's free memory and swap, the limits of control groups (those
of a container) and of the process. Elsewhere nothing is known and nothing is refused.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import MemoryShortError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
LESS = (
    "a smaller --samples or --horizon, a later --start, a longer rebalance (--param "
    "rebalance=month) or fewer symbols need less"
)
# A limit file, what is used of it, and the name of what can be given back, in both versions.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def expect_room(count: int, bytes_each: int, what: str, besides: int = 0) -> None:
    """Raises where `count` forecasts, `what` of each, are more than memory can hold together with
    the bytes `besides` that do not grow with them."""
    free = available_bytes()
    needed = count * bytes_each + besides
    if free is None or needed <= free:
        return
    fitting = max(0, free - besides) // bytes_each
    raise MemoryShortError(
        f"{count:,} forecasts ({what}) need {size_in_words(needed)} of memory, and "
        f"{size_in_words(free)} are free: {fitting:,} fit; {LESS}"
    )


def available_bytes() -> int | None:
    """What this process may still take; None where the system does not say."""
    return min(
        (max(0, free) for free in (*_of_machine(), *_of_groups(), *_of_process())), default=None
    )


def is_shortage(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of its GPU, in the words of numpy, torch or C."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in text)
    )


def ran_out(error: BaseException) -> str:
    """The line for an error that `is_shortage`."""
    text = " ".join(str(error).split())
    return f"memory ran out{f' ({text})' if text else ''}: {LESS}"


def room_on_disk(folder: Path) -> int:
    """Bytes that files may take in a folder. Where it is a part of memory (tmpfs), no more than
    memory has. Raises OSError for a folder that is not there."""
    free = shutil.disk_usage(folder).free
    in_memory = available_bytes() if _is_memory(folder) else None
    return free if in_memory is None else min(free, in_memory)


def size_in_words(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _is_memory(folder: Path) -> bool:
    """Whether its files are kept in memory, as far as the system says."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    for line in _text(PROC / "self" / "mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2:3] == [number] and kind.split()[:1] in (["tmpfs"], ["ramfs"]):
            return True
    return False


def _of_machine() -> Iterator[int]:
    found = _fields(PROC / "meminfo")
    if "MemAvailable" in found:
        yield found["MemAvailable"] + found.get("SwapFree", 0)


def _of_groups() -> Iterator[int]:
    """Of each control group that this process is in, up to the outermost."""
    for entry in _text(PROC / "self" / "cgroup").splitlines():
        _, kinds, path = entry.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = CGROUPS / "memory" if kinds else CGROUPS
        folder = root / path.strip("/")  # absent in a container, which sees its own as the root
        while True:
            yield from _of_group(folder)
            if folder == root:
                break
            folder = folder.parent


def _of_group(folder: Path) -> Iterator[int]:
    for most, used, spare in _GROUP_FILES:
        limit, now = _text(folder / most).strip(), _text(folder / used).strip()
        if limit.isdigit() and now.isdigit():  # "max" is none
            can_go = _fields(folder / "memory.stat").get(spare, 0)
            yield int(limit) - int(now) + can_go


def _of_process() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    used = _fields(PROC / "self" / "status")
    for limit, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and field in used:
            yield most - used[field]


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of `name: number kB` or `name number` lines, in bytes."""
    found = {}
    for line in _text(path).splitlines():
        match line.replace(":", " ").split():
            case [name, number, *unit] if number.isdigit():
                found[name] = int(number) * (1024 if unit == ["kB"] else 1)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
