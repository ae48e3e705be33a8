"""What another command asks the registry to count, as one JSON document.

The room of that command may not know this one, so it starts `python -m sandbox.tries add`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from sandbox.errors import ConfigError
from sandbox.tries.tried import Scored, TriedSkill, key_of, thing_of

KNOWN_FIELDS_ALONE = ConfigDict(extra="forbid")
Text = Annotated[str, Field(min_length=1)]
FORM = """\
the document, all of it needed and nothing else allowed:
  kind         "skill": forecasts that were scored
  spec         the data spec
  data_hash    of its candles
  first_bar    of the window, such as 2024-01-02T21:00:00+00:00
  last_bar
  things       a list, one for each model with settings:
    name         in the folder's tables
    model        its name
    fingerprint  of its weights
    settings     a mapping: all else that its forecasts follow from

A thing that was added before, on the same candles in the same window, is not added again. A file
may also hold the document under the name "tries", as the skill.json of sandbox.skill does. What is
printed is meant for a reader: a line if an older registry was set aside, and how many different
things have been tried on this data in this window.
"""


@dataclass(frozen=True, kw_only=True, config=KNOWN_FIELDS_ALONE)
class Thing:
    """A model with settings."""

    name: Text
    model: Text
    fingerprint: Text
    settings: Mapping[str, JsonValue]


@dataclass(frozen=True, kw_only=True, config=KNOWN_FIELDS_ALONE)
class Document:
    """As `FORM` says."""

    kind: Literal["skill"]
    spec: Text
    data_hash: Text
    first_bar: AwareDatetime
    last_bar: AwareDatetime
    things: Annotated[tuple[Thing, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.last_bar < self.first_bar:
            raise ValueError(f"last_bar {self.last_bar} is before first_bar {self.first_bar}")
        return self


def document_of(text: str, source: str) -> Document:
    """Raises ConfigError with what is wrong first; `source` is what the text is called there."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{source}: not JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("tries"), dict):
        content = content["tries"]
    try:
        return _adapter().validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ConfigError(f"{source}: {place}: {first['msg'].lower()}") from None


def tried_skill(document: Document, folder: str) -> TriedSkill:
    """As it is counted now; `folder` is the run folder, seen from the registry's."""
    window = {name: _text(getattr(document, name)) for name in ("first_bar", "last_bar")}
    return TriedSkill(
        when=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", folder=folder, spec=document.spec,
        data_hash=document.data_hash, **window,
        tries=tuple(_scored(each, document.data_hash, window) for each in document.things),
    )  # fmt: skip


def _scored(each: Thing, data_hash: str, window: Mapping[str, str]) -> Scored:
    what: dict[str, Any] = asdict(each)
    thing = thing_of({"kind": "skill", "fingerprint": each.fingerprint, "settings": each.settings})
    return Scored(**what, thing=thing, key=key_of(thing, data_hash, *window.values()))


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


@cache
def _adapter() -> TypeAdapter[Document]:
    return TypeAdapter(Document)
