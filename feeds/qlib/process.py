"""Reads a Qlib directory through pyqlib; run as a script, in a process and a folder of its own.

pyqlib keeps its settings, its logging and its experiments in the process that imports it, so that
is not the one that asks. The first argument is JSON: `folder`, `instruments`, `freq`, `fields`
(without their $) and `out`, the folder of the answer. What comes is written there:

- `answer.json`: `members`, by symbol the first and the last stamp of each span, in the order of the
  set; or `error`, one line, with `missing` where a package is not installed
- `features.arrow`: columns symbol, stamp and the fields, the bars of a symbol together

Standard output gets a line of two numbers each time that more symbols are read: how many, of how
many. Knows nothing of candles, and imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

SYMBOLS_AT_A_TIME = 20


def main() -> int:
    ask = json.loads(sys.argv[1])
    told, sys.stdout = sys.stdout, sys.stderr  # whatever a package prints is not an answer
    out = Path(ask["out"])
    answer: dict[str, Any]
    try:
        answer = {"members": read(ask, out / "features.arrow", told)}
    except ModuleNotFoundError as error:
        answer = {"error": str(error), "missing": error.name}
    except Exception as error:
        text = " ".join(str(error).split())
        answer = {"error": f"{type(error).__name__}: {text}"}
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 0


def read(ask: dict[str, Any], features: Path, told: TextIO) -> dict[str, list[list[str]]]:
    """Write the features of all instruments; returns when each was a member."""
    import qlib  # type: ignore[import-untyped]
    from qlib.data import D  # type: ignore[import-untyped]

    qlib.init(
        provider_uri=ask["folder"], kernels=1, logging_config=None, expression_cache=None,
        dataset_cache=None,
    )  # fmt: skip
    D.calendar(freq=ask["freq"])  # raises what is wrong with it, before any file is read
    market = D.instruments(ask["instruments"])
    spans = D.list_instruments(market, freq=ask["freq"], as_list=False)
    write(D, list(spans), ask, features, told)
    return {
        symbol: [[first.isoformat(), last.isoformat()] for first, last in own]
        for symbol, own in spans.items()
    }


def write(data: Any, symbols: list[str], ask: dict[str, Any], path: Path, told: TextIO) -> None:
    """All bars of the symbols, also those at which they were no members."""
    import pyarrow as pa

    fields = list(ask["fields"])
    schema = pa.schema(
        [("symbol", pa.string()), ("stamp", pa.timestamp("ns"))]
        + [(field, pa.float64()) for field in fields]
    )
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for at in range(0, len(symbols), SYMBOLS_AT_A_TIME):
            some = symbols[at : at + SYMBOLS_AT_A_TIME]
            table = data.features(some, [f"${field}" for field in fields], freq=ask["freq"])
            table = table.set_axis(fields, axis=1).astype("float64").reset_index()
            table = table.rename(columns={"instrument": "symbol", "datetime": "stamp"})
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
            print(at + len(some), len(symbols), file=told, flush=True)


if __name__ == "__main__":
    sys.exit(main())
