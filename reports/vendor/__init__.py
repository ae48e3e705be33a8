"""The one JavaScript library that pages carry: TradingView's Lightweight Charts, as published.

`lightweight-charts.js` is the standalone production build from the npm package, unchanged.
`lightweight-charts.json` says which version, where it came from, and what both files hash to.
`python -m reports.vendor` builds the folder anew from the registry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPT = "lightweight-charts.js"
RECORD = "lightweight-charts.json"
LICENCE = "LICENSE"
NOTICE = "NOTICE"


@dataclass(frozen=True, kw_only=True)
class Vendored:
    """Which build is vendored; the fields of lightweight-charts.json."""

    name: str
    version: str
    licence: str  # SPDX
    tarball: str  # its address at the registry
    integrity: str  # of the tarball, as npm states it: "sha512-" and base64
    script_in_tarball: str
    script_sha256: str  # of SCRIPT, in hex


def vendored() -> Vendored:
    return Vendored(**json.loads((FOLDER / RECORD).read_text(encoding="utf-8")))


def chart_library() -> str:
    """The library's source, to stand in a page."""
    return (FOLDER / SCRIPT).read_text(encoding="utf-8")


def attribution() -> str:
    """What its licence wants to be read on every page that uses it."""
    return " ".join((FOLDER / NOTICE).read_text(encoding="utf-8").split())
