"""What a `qlib:` spec asks for, and whether the directory has it. Knows the files' names only.

A Qlib directory holds `calendars/FREQ.txt`, `instruments/SET.txt` and
`features/SYMBOL/FIELD.FREQ.bin`. All is checked before pyqlib is asked, which writes empty files
where it misses some.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import SourceError, SpecError
from ..query import parameters
from ..words import listed, nearest

FORM = "qlib:DIR?instruments=csi300&freq=day"
ALLOWED = ("instruments", "freq")
DEFAULT_FREQ = "day"
# The frequencies that pyqlib reads: a number and a unit, which it writes as on the right.
FREQ = re.compile(r"(\d*)(month|mon|week|w|day|d|minute|min)", re.IGNORECASE)
UNITS = {"mon": "month", "w": "week", "d": "day", "minute": "min"}
SHOWN_FREQS = ("day", "1min", "5min", "week", "month")


class Wanted(NamedTuple):
    """A directory, and what to read of it."""

    folder: Path
    instruments: str  # the name of a file in its folder `instruments`, in lower case
    freq: str  # as pyqlib writes it: "day", "1min", "1week"

    @property
    def minutes(self) -> int | None:
        """How long a bar is; None for bars of days and longer."""
        return int(self.freq.removesuffix("min")) if self.freq.endswith("min") else None


def parse(rest: str) -> Wanted:
    """What `DIR?instruments=SET[&freq=FREQ]` asks for, `freq` being "day" unless given.

    Raises `SpecError` for a parameter that is misspelt or missing, an unknown set of instruments
    or an unknown freq, and `SourceError` for a directory that is none of Qlib's.
    """
    spec = f"qlib:{rest}"
    path, given = parameters(spec, rest, ALLOWED)
    if not path.strip():
        raise SpecError(f"{spec}: it lacks a directory; write {FORM}", value=rest)
    freq = _freq(given.get("freq", DEFAULT_FREQ).strip(), spec)
    folder = _folder(path.strip(), spec)
    _expect_calendar(folder, freq, spec)
    return Wanted(folder, _instruments(folder, given.get("instruments", "").strip(), spec), freq)


def _freq(text: str, spec: str) -> str:
    """As pyqlib writes it."""
    match = FREQ.fullmatch(text)
    if match is None or not int(match[1] or 1):
        near = nearest(text, SHOWN_FREQS)
        hint = f"did you mean {near}? " if near else ""
        raise SpecError(
            f"{spec}: no freq {text!r}; {hint}pyqlib knows such as {', '.join(SHOWN_FREQS)}",
            value=text,
        )
    unit = match[2].lower()
    unit, count = UNITS.get(unit, unit), int(match[1] or 1)
    return "day" if (count, unit) == (1, "day") else f"{count}{unit}"


def _folder(path: str, spec: str) -> Path:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        what = "that is a file" if folder.exists() else "there is no such directory"
        raise SourceError(
            f"{spec}: {what}; give the directory that holds calendars, instruments and features",
            source=path,
            value=path,
        )
    return folder


def _expect_calendar(folder: Path, freq: str, spec: str) -> None:
    """Raises SourceError where the directory has none of that freq."""
    found = [name for name in _stems(folder / "calendars") if not name.endswith("_future")]
    if freq in found:
        if not (folder / "calendars" / f"{freq}.txt").read_text(encoding="utf-8").strip():
            _missing(folder, f"its calendars/{freq}.txt is empty")
        return
    if found:
        raise SpecError(
            f"{spec}: no calendar of freq={freq}; it has {', '.join(found)}",
            source=str(folder),
            value=freq,
        )
    _missing(folder, f"it has no calendar (calendars/{freq}.txt)")


def _missing(folder: Path, what: str) -> NoReturn:
    raise SourceError(
        f"qlib:{folder}: {what}; give a directory in Qlib's own format", source=str(folder)
    )


def _instruments(folder: Path, name: str, spec: str) -> str:
    """The file of the set; Qlib's names do not depend on case."""
    found = _stems(folder / "instruments")
    if not found:
        _missing(folder, "it has no set of instruments (instruments/all.txt)")
    if not name:
        raise SpecError(
            f"{spec}: it lacks instruments; write {FORM}, with one of {listed(found, 10)}",
            value="",
        )
    by_lower = {stem.lower(): stem for stem in found}
    if name.lower() not in by_lower:
        near = nearest(name, found)
        hint = f"did you mean {near}?" if near else f"it has {listed(found, 10)}"
        raise SpecError(f"{spec}: no instruments {name!r}; {hint}", value=name)
    if by_lower[name.lower()] != name.lower():
        _missing(folder, f"instruments/{by_lower[name.lower()]}.txt is not in lower case")
    if not (folder / "instruments" / f"{name.lower()}.txt").read_text(encoding="utf-8").strip():
        _missing(folder, f"its instruments/{name.lower()}.txt is empty")
    return name.lower()


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.txt")) if folder.is_dir() else []
