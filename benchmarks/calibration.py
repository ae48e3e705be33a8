"""What calibration does to bands and CRPS: raw and calibrated forecasts side by side.

    python -m benchmarks.calibration sample:ph --start 2019-01-02 --end 2021-12-31 --every 5

Scores the bundled model with three settings on the data named: the usual ones, those of the
published demo (temperature 0.6, top_p 0.9), which are far too narrow, and a horizon of 10 bars. A
row is the last bar of the horizon: what the 90 % band held, in all and over the worst years, and by
how much the CRPS of calibrated forecasts is above that of raw ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.skill.__main__ import main as skill

SETTINGS: Mapping[str, list[str]] = {
    "as usual": [],
    "temperature 0.6, top_p 0.9": ["--temperature", "0.6", "--top-p", "0.9"],
    "10 bars": ["--horizon", "10"],
}
HEAD = (
    "| data | settings | forecasts | raw, 90 % held | in a year | calibrated, 90 % held "
    "| in a year | CRPS |\n|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", help="data spec")
    parser.add_argument("--store", default="store")
    args, rest = parser.parse_known_args()
    print(HEAD)
    for name, options in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "skill"
            words = ["--data", args.data, "--store", args.store, "--signal", "none", "--calibrate"]
            if status := skill([*words, *options, *rest, "--out", str(out)]):
                raise SystemExit(status)
            record = json.loads((out / "skill.json").read_text(encoding="utf-8"))
        print(row(args.data, name, record), flush=True)


def row(data: str, settings: str, record: Mapping[str, Any]) -> str:
    """Of a skill command with `--calibrate`, over all of its dates."""
    figures = record["spans"]["whole"]["figures"]
    raw, moved = (
        figures[own["name"]][str(record["headline"])]
        for own in record["sources"]
        if own["kind"] == "model"
    )
    cells = [data, settings, f"{raw['forecasts']:,}".replace(",", " ")]
    for own in (raw, moved):
        years = [f"{100 * held:.1f}" for held in own["years_90"] or ()]
        cells += [f"{100 * own['inside']['90']:.1f}", " to ".join(years) or "-"]
    cells.append(f"{100 * (moved['crps'] / raw['crps'] - 1):+.1f} %")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
