"""The published checkpoints as facts: tensors, parameters, file sizes, configs both ways."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kronos import Kronos, KronosTokenizer
from tests.kronos.conftest import GOLDEN

FACTS = Path(__file__).parents[1] / "published"


@dataclass(frozen=True)
class Fact:
    """What is published under a name: its class here, parameters, bytes of `model.safetensors`."""

    name: str
    kind: type[Kronos] | type[KronosTokenizer]
    parameters: int
    weights_bytes: int

    def read(self, what: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((FACTS / f"{self.name}.{what}.json").read_text())
        return facts

    def build(self) -> Kronos | KronosTokenizer:
        return self.kind(**self.read("config"))


PUBLISHED = [
    Fact("Kronos-mini", Kronos, 4_108_032, 16_440_776),
    Fact("Kronos-small", Kronos, 24_741_376, 98_980_656),
    Fact("Kronos-base", Kronos, 102_310_592, 409_264_008),
    Fact("Kronos-Tokenizer-2k", KronosTokenizer, 3_958_042, 15_842_376),
    Fact("Kronos-Tokenizer-base", KronosTokenizer, 3_958_042, 15_842_368),
]


@pytest.fixture(params=PUBLISHED, ids=lambda fact: str(fact.name))
def fact(request: pytest.FixtureRequest) -> Fact:
    found: Fact = request.param
    return found


def test_config_gives_exactly_the_published_tensors(fact: Fact) -> None:
    with torch.device("meta"):
        net = fact.build()
    got = {key: [str(t.dtype), list(t.shape)] for key, t in net.state_dict().items()}
    assert got == fact.read("tensors")
    assert sum(p.numel() for p in net.parameters()) == fact.parameters


def test_save_pretrained_writes_the_published_bytes_and_reads_them_back(
    fact: Fact, tmp_path: Path
) -> None:
    net = fact.build()
    net.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    assert weights.stat().st_size == fact.weights_bytes
    assert json.loads((tmp_path / "config.json").read_text()) == fact.read("config")
    again = fact.kind.from_pretrained(tmp_path)
    want, got = net.state_dict(), again.state_dict()
    assert list(got) == list(want)
    assert all(torch.equal(got[key], want[key]) for key in want)
    weights.unlink()


@pytest.mark.parametrize("case", ["tiny", "fixed_time"])
@pytest.mark.parametrize(("part", "kind"), [("model", Kronos), ("tokenizer", KronosTokenizer)])
def test_weights_move_both_ways(
    case: str, part: str, kind: type[Kronos] | type[KronosTokenizer], tmp_path: Path
) -> None:
    folder = GOLDEN / case / part
    stored = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    net = kind(**config)
    net.load_state_dict(stored, strict=True)
    net.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == stored.keys()
    assert all(torch.equal(saved[key], stored[key]) for key in stored)
    assert json.loads((tmp_path / "config.json").read_text()) == config
