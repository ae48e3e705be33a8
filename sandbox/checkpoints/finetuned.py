"""The folder of a fine-tuned checkpoint: weights as published ones, a card, a page about it.

Knows files alone; nothing of how it was trained. `--model FOLDER` takes such a folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from kronos import Checkpoint
from sandbox.checkpoints.card import CARD, README, read_card
from sandbox.checkpoints.weights import CONFIG, copy_weights, save_weights
from sandbox.errors import ConfigError
from sandbox.interrupts import held, tidied

NETS = {"model": "predictor", "tokenizer": "tokenizer"}  # folders, and the stages that train them


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """What goes into the folder."""

    base: Checkpoint
    card: Mapping[str, Any]
    work: Path  # where the stages' progress files and the training's tables are
    tables: tuple[str, ...]  # files and folders of `work` that go with the checkpoint

    def write(self, out: Path) -> dict[str, Any]:
        """The folder, whole or not at all; returns its card."""
        draft = out.with_name(f".{out.name}.partial-{os.getpid()}")
        discard = partial(shutil.rmtree, draft, ignore_errors=True)
        with tidied(discard):
            try:
                card = self._fill(draft)
                with held():
                    if out.is_dir():  # an empty one: see `finished`
                        out.rmdir()
                    draft.rename(out)
            finally:
                discard()
        return card

    def _fill(self, draft: Path) -> dict[str, Any]:
        sources = {"model": self.base.model_folder, "tokenizer": self.base.tokenizer_folder}
        hashes = {net: self._write_net(net, sources[net], draft / net) for net in NETS}
        for name in self.tables:
            source = self.work / name
            if source.is_dir():
                shutil.copytree(source, draft / name)
            elif source.exists():
                shutil.copyfile(source, draft / name)
        same = not any(self._is_trained(net) for net in NETS)
        card = {**self.card, "is_base": same, "sha256": hashes}
        (draft / README).write_text(readme(card), encoding="utf-8")
        (draft / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        return card

    def _is_trained(self, net: str) -> bool:
        """Whether something beat the base."""
        stage = self.card["stages"].get(NETS[net])
        return stage is not None and stage["best_epoch"] > 0

    def _write_net(self, net: str, source: Path, folder: Path) -> str:
        if not self._is_trained(net):
            return copy_weights(source, folder)
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
        return save_weights(folder, best_weights(self.work / f"{NETS[net]}.safetensors"), config)


def best_weights(progress_file: Path) -> dict[str, Tensor]:
    """Those that a stage found best, out of its progress."""
    with safe_open(progress_file, framework="pt") as stored:
        names = [name for name in stored.keys() if name.startswith("best/")]  # noqa: SIM118
        return {name.removeprefix("best/"): stored.get_tensor(name) for name in names}


def finished(out: Path, identity: str) -> dict[str, Any] | None:
    """The card of a folder that this very training has filled; None where there is nothing yet.

    Raises ConfigError where something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        card = read_card(out)
        if card["identity"] == identity:
            return card
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{out} exists and is no fine-tuned checkpoint: choose another folder"
        ) from None
    raise ConfigError(
        f"{out} holds a checkpoint of another base, other candles or other settings: choose "
        "another folder, or remove it"
    )


def readme(card: Mapping[str, Any]) -> str:
    """The page for people, out of the card."""
    base, data = card["base"], card["data"]
    rows = "\n".join(
        f"| {name} | {stage['base_loss']:.4f} | {stage['best_loss']:.4f} | {_kept(stage)} | "
        f"{stage['steps_run']:,} |"
        for name, stage in card["stages"].items()
    )
    settings = "\n".join(f"- {name}: {value}" for name, value in card["settings"].items())
    return f"""# {card["name"]}

Kronos, fine-tuned from `{base["name"]}` (weights {base["fingerprint"][:12]}). \
{_verdict(card)}

| stage | validation loss of the base | of what is here | kept | steps run |
|---|---|---|---|---|
{rows}

The tokenizer's loss is a mean squared error of normalised candles, the predictor's is in nats a
token. Under another tokenizer the predictor's loss is another quantity: compare its two columns
with each other, not with those of another checkpoint.

## What it saw
- {data["symbols"]} symbols of `{data["spec"]}` (SHA-256 {data["hash"][:12]}).
- Trained on targets from {card["train"][0]} until before {card["train"][1]}, stopped by those from
  {card["validate"][0]} until before {card["validate"][1]}.
- {_seen(card)}

## Settings
{settings}

## Use
`python -m sandbox.run strategies/topk.py --model FOLDER` trades it. To publish it:
`Kronos.from_pretrained("FOLDER/model").push_to_hub("ORG/NAME")`, and the same for `KronosTokenizer`
and `FOLDER/tokenizer`.
"""


def _verdict(card: Mapping[str, Any]) -> str:
    if card["is_base"]:
        return (
            "**Nothing beat the base on the validation targets: this is the base, byte for byte.**"
        )
    return "What is here validated best."


def _kept(stage: Mapping[str, Any]) -> str:
    return f"epoch {stage['best_epoch']}" if stage["best_epoch"] else "the base"


def _seen(card: Mapping[str, Any]) -> str:
    base = card["base"]["seen_until"]
    if base is None:
        return "Up to when the base has seen data is not known: no period can be called unseen."
    return (
        f"The base has seen data to {base}, this checkpoint to {card['seen_until']}. Later days "
        "are unseen."
    )
