"""A checkpoint's files, in the form of the published ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from kronos.hub import FILES

CONFIG, WEIGHTS = FILES


def save_weights(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """Write `config.json` and `model.safetensors` into a folder; returns the weights' SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # it is written for its owner alone
    return _sha256(folder / WEIGHTS)


def copy_weights(source: Path, folder: Path) -> str:
    """Both files as they are, to the byte; returns the weights' SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, folder / name)
    return _sha256(folder / WEIGHTS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
