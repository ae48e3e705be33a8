"""`csv:` and `parquet:`: one file a symbol, or long files with a symbol column.

A file without a symbol column holds the symbol it is named after. Several files may continue one
another: their rows are joined in the order of the paths. Times are UTC, or carry their zone. What a
row's time stands for (a date, the opening of its bar or its close) is told by `feeds.stamps`, from
the names of the columns, from a trading calendar or from what the user declares.
"""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .candles import Candles
from .errors import CandleError, SourceError, TimeError
from .openings import Source, place
from .schema import Arranged, Meant, arrange, find_columns, finish, meaning, with_index_as_column
from .sessions import Sessions
from .stamps import Stamps
from .timing import sentences

_SUFFIXES = {".csv", ".parquet", ".pq", ".gz", ".zip", ".bz2", ".xz", ".zst"}
_MISSING = ["", "nan", "NaN", "NAN", "null", "NULL", "None", "N/A", "n/a", "NA", "#N/A"]


class _Piece(NamedTuple):
    source: str
    arranged: Arranged


def load_files(
    kind: str,
    pattern: str,
    *,
    repair: bool = False,
    stamps: Stamps | None = None,
    sessions: Sessions | None = None,
) -> Candles:
    """Candles of the files that `pattern` (a path or a glob, ~ allowed) names.

    kind: "csv" or "parquet". stamps, sessions: as for `feeds.load`. Raises `SourceError` for no
    match or an unreadable or empty file, and `CandleError` for candles that break the contract.
    """
    pieces: dict[str, list[_Piece]] = {}
    for path in _paths(kind, pattern):
        for symbol, rows in _split(_read(kind, path), path):
            arranged = arrange(rows, symbol, source=str(path), lenient=repair)
            pieces.setdefault(symbol, []).append(_Piece(str(path), arranged))
    return _gather(pieces, f"{kind}:{pattern}", repair=repair, stamps=stamps, sessions=sessions)


def from_frames(
    frames: Mapping[str, pd.DataFrame],
    *,
    spec: str = "frames",
    repair: bool = False,
    stamps: Stamps | None = None,
    sessions: Sessions | None = None,
) -> Candles:
    """Candles of tables in memory, one a symbol, normalised and checked as a file's are.

    What suits them can be named with `dataclasses.replace`: `replace(candles, costs="ph")`.
    stamps, sessions: as for `feeds.load`. Raises `FeedError` for no frames and `CandleError` for
    candles that break the contract.
    """
    pieces = {
        symbol: [_Piece(spec, arrange(raw, symbol, lenient=repair))]
        for symbol, raw in frames.items()
    }
    return _gather(pieces, spec, repair=repair, stamps=stamps, sessions=sessions)


def _gather(
    pieces: Mapping[str, list[_Piece]],
    spec: str,
    *,
    repair: bool,
    stamps: Stamps | None,
    sessions: Sessions | None,
) -> Candles:
    _refuse_mixed_zones(pieces)
    sources = []
    for symbol, parts in pieces.items():
        joined = _join([part.arranged.frame for part in parts])
        names = ", ".join(part.source for part in parts)
        checked = finish(joined, symbol, source=names, repair=repair)
        sources.append(Source(checked, _meant(symbol, parts), symbol, names))
    bars = place(sources, repair=repair, stamps=stamps, sessions=sessions)
    frames = {symbol: placed.frame for symbol, placed in bars.items()}
    repairs = [
        line
        for source in sources
        for line in (*source.checked.repairs, *bars[source.symbol].repairs)
    ]
    return Candles(
        frames, spec=spec, repairs=tuple(repairs),
        opens={symbol: placed.opens_ns for symbol, placed in bars.items()},
        timing=sentences({symbol: placed.notes for symbol, placed in bars.items()}, frames),
    )  # fmt: skip


def _meant(symbol: str, parts: list[_Piece]) -> Meant:
    """What the times of a symbol are called, the same in all its files."""
    first, meant = parts[0], [part.arranged.meant for part in parts]
    for part in parts[1:]:
        if part.arranged.meant != first.arranged.meant:
            raise TimeError.at(
                f"its time columns are not those of {first.source}",
                symbol=symbol,
                source=part.source,
                remedy="name the columns of opening and closing times alike in all its files",
            )
    return meant[0]


def _join(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return frames[0] if len(frames) == 1 else pd.concat(frames)


def _paths(kind: str, pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        raise SourceError(
            f"{kind}:{pattern}: that is a folder; write {kind}:{pattern.rstrip('/')}/*.{kind}",
            source=pattern,
        )
    if path.is_file():
        return [path]
    paths = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    files = [name for name in paths if name.is_file()]
    if not files:
        raise SourceError(
            f"{kind}:{pattern}: no file of that name; give a path or a glob such as data/*.{kind}",
            source=pattern,
        )
    return files


def _read(kind: str, path: Path) -> pd.DataFrame:
    try:
        raw = _read_csv(path) if kind == "csv" else pd.read_parquet(path)
    except pd.errors.EmptyDataError:
        raise _empty(path) from None
    except (OSError, ValueError, NotImplementedError, pd.errors.ParserWarning) as error:
        raise SourceError(
            f"{path}: cannot be read as {kind} ({str(error).splitlines()[0]}); "
            "check the file and the data spec",
            source=str(path),
        ) from error
    if raw.empty:
        raise _empty(path)
    return with_index_as_column(raw)


def _read_csv(path: Path) -> pd.DataFrame:
    """The table, with symbols as text: neither 000001 a number nor NA a hole."""
    separator = _separator(path)
    header = pd.read_csv(path, nrows=0, sep=separator, encoding="utf-8-sig").columns
    symbols = [column for column in header if meaning(column) == "symbol"]
    missing = {column: [""] if column in symbols else _MISSING for column in header}
    with warnings.catch_warnings():
        # pandas only warns when it cuts off rows that are longer than the header.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            index_col=False,
            low_memory=False,
            dtype=dict.fromkeys(symbols, "str"),
            keep_default_na=False,
            na_values=missing,
        )


def _separator(path: Path) -> str:
    """Comma, unless the header has none and has semicolons or tabs."""
    lines = pd.read_csv(path, nrows=0, sep="\0", encoding="utf-8-sig", engine="c").columns
    header = str(lines[0])
    if "," in header:
        return ","
    return next((mark for mark in ";\t" if mark in header), ",")


def _empty(path: Path) -> SourceError:
    return SourceError(
        f"{path}: empty file; give at least one row of candles, or leave it out",
        source=str(path),
    )


def _split(raw: pd.DataFrame, path: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The table's symbols, in the order they appear, with their rows."""
    column = find_columns(raw, str(path)).get("symbol")
    if column is None:
        yield _stem(path), raw
        return
    symbols = raw[column].astype("str").str.strip()
    nameless = (raw[column].isna() | (symbols == "")).to_numpy()
    if nameless.any():
        row = int(nameless.argmax())
        raise CandleError(
            f"{path}, row {row}: the symbol is missing; name it, or take the row out",
            source=str(path),
            row=row,
        )
    for symbol, rows in raw.groupby(symbols.to_numpy(), sort=False):
        yield str(symbol), rows


def _stem(path: Path) -> str:
    name = path
    while name.suffix.lower() in _SUFFIXES:
        name = name.with_suffix("")
    return name.name


def _refuse_mixed_zones(pieces: Mapping[str, list[_Piece]]) -> None:
    """Files with a zone beside files without one: taking the latter as UTC would be a guess."""
    first: tuple[str, _Piece] | None = None
    for symbol, parts in pieces.items():
        for part in parts:
            first = first or (symbol, part)
            if part.arranged.zoned == first[1].arranged.zoned:
                continue
            raise TimeError.at(
                f"mixed time zones: times {'with' if part.arranged.zoned else 'without'} a zone, "
                f"while {first[0]} ({first[1].source}) has them "
                f"{'with' if first[1].arranged.zoned else 'without'}",
                symbol=symbol,
                source=part.source,
                row=0,
                time=part.arranged.frame.index[0],
                remedy="write every time in UTC, all with an offset or all without",
            )
