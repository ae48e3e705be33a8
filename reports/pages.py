"""Whole HTML pages from templates: self-contained, and closed to everything from elsewhere.

A page carries its stylesheet, its scripts and its data. A content security policy lets exactly
those scripts run, by their hashes, and nothing be fetched, so that neither a name from a run folder
nor the chart library can reach out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.files import ReportError
from reports.vendor import attribution, chart_library

_HERE = Path(__file__).resolve().parent


def render(template: str, scripts: Sequence[str] = (), **content: Any) -> str:
    """A page of `templates/` with the scripts at its end."""
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_asset("page.css")),
            scripts=[Markup(_checked(script)) for script in scripts],
            policy=_policy(scripts),
            **content,
        )
    )


def fragment(template: str, **content: Any) -> str:
    """A part of a page of `templates/`."""
    return _environment().get_template(template).render(**content)


def load_templates() -> None:
    """Compile every template now, so that pages are rendered at once when it comes to it."""
    for name in _environment().list_templates():
        _environment().get_template(name)


def chart_scripts() -> tuple[str, str]:
    """What draws a page's JSON block of charts."""
    return chart_library(), _asset("charts.js")


def fills_script() -> str:
    """What sorts and filters the table of fills."""
    return _asset("fills.js")


def prose(sentence: str) -> Markup:
    """Text with minus signs, and numbers that stay with their unit."""
    text = str(escape(sentence)).replace(" %", "&nbsp;%")
    return Markup(re.sub(r"(?<=[ (])-(?=\d)", "\N{MINUS SIGN}", text))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # `tojson` escapes what could end a script or begin a tag
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["prose"] = prose
    environment.globals["attribution"] = attribution()
    return environment


@cache
def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8")


def _checked(script: str) -> str:
    """A script that can stand in a page as it is; ReportError if a browser would cut it short."""
    for ending in ("</script", "<!--", "\r"):
        if ending in script.lower():
            raise ReportError(f"a script of this room holds {ending!r} and cannot stand in a page")
    return script


def _policy(scripts: Sequence[str]) -> str:
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
