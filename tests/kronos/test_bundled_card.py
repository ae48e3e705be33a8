"""The bundled checkpoint is the one that its card describes."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import kronos as package
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

FOLDER = Path(package.__file__).parent / "bundled"
PARTS: list[tuple[str, type[nn.Module]]] = [("model", Kronos), ("tokenizer", KronosTokenizer)]
CARD = json.loads((FOLDER / "card.json").read_text())


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_weights_are_those_of_the_card(part: str) -> None:
    found = hashlib.sha256((FOLDER / part / "model.safetensors").read_bytes()).hexdigest()
    assert found == CARD["sha256"][part]


@pytest.mark.parametrize(("part", "kind"), PARTS)
def test_weights_fit_their_config_and_the_parameter_count(part: str, kind: type[nn.Module]) -> None:
    module = kind(**json.loads((FOLDER / part / "config.json").read_text()))
    module.load_state_dict(load_file(FOLDER / part / "model.safetensors"))
    assert sum(p.numel() for p in module.parameters()) == CARD[part]["parameters"]
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in module.parameters())


def test_checkpoint_is_small() -> None:
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) <= 6 * 2**20


def test_card_says_what_was_seen_and_that_it_learned_something() -> None:
    assert (CARD["trained_until"], CARD["seen_until"]) == ("2017-12-31", "2018-12-31")
    assert CARD["max_context"] == 512
    model = CARD["model"]
    assert model["validation_loss"] == pytest.approx(
        (model["validation_loss_s1"] + model["validation_loss_s2"]) / 2
    )
    assert model["validation_loss"] < model["unigram"]
    assert model["validation_loss_s1"] < model["unigram_s1"]


def test_readme_gives_the_card_s_figures() -> None:
    text = (FOLDER / "README.md").read_text()
    assert "for demonstration only" in text.lower()
    assert f"{CARD['model']['validation_loss']:.4f} | {CARD['model']['unigram']:.4f}" in text
    for row in CARD.get("evaluation", {}).get("horizons", []):
        assert all(math.isfinite(row[name]) for name in ("crps", "crps_skill", "coverage"))
        assert f"| {row['crps']:.5f} | {row['crps_random_walk']:.5f} |" in text
