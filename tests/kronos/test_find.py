"""`find` knows a checkpoint from its files; weights are read, and refused, when they are needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kronos
from kronos import CheckpointError, find, load
from tests.kronos.conftest import GOLDEN

ROOT = Path(kronos.__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("model", "tokenizer"):
        shutil.copytree(GOLDEN / "tiny" / part, tmp_path / "it" / part)
    return tmp_path / "it"


def test_find_and_load_know_the_same(folder: Path) -> None:
    found, loaded = find(str(folder)), load(str(folder))
    for fact in ("name", "fingerprint", "max_context", "seen_until"):
        assert getattr(found, fact) == getattr(loaded, fact)
    assert found.model is found.model
    assert found.predictor("cpu").model is found.model


@pytest.mark.parametrize("use", ["model", "tokenizer", "predictor"])
def test_half_a_weight_file_is_refused_at_first_use(folder: Path, use: str) -> None:
    weights = folder / "tokenizer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    found = find(str(folder))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="it may be half downloaded: delete it and fetch"):
            getattr(found, use)()


@pytest.mark.parametrize("file", ["model/config.json", "tokenizer/model.safetensors"])
def test_a_file_that_is_missing_is_told_at_once(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        find(str(folder))


def test_weights_that_change_after_they_were_found_are_refused(folder: Path) -> None:
    found = find(str(folder))
    config = folder / "model" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(CheckpointError, match=r"the files of model .*it have changed since they"):
        _ = found.model


def test_the_package_imports_no_torch_until_a_model_is_named() -> None:
    code = """
import sys
import kronos
assert set(kronos.__all__) <= set(dir(kronos))
before = "torch" in sys.modules
from kronos import Kronos, KronosPredictor, KronosTokenizer
print(before, Kronos.__module__, KronosPredictor.__module__, KronosTokenizer.__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == "False kronos.model kronos.predictor kronos.tokenizer\n", done.stderr


def test_a_name_the_package_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'kronos' has no attribute 'Kronoss'"):
        _ = kronos.Kronoss  # type: ignore[attr-defined]
    assert all(hasattr(kronos, name) for name in kronos.__all__)
