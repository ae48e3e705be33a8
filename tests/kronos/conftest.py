"""Stored outputs of the published code, and small models, for the tests of this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kronos import Kronos, KronosPredictor, KronosTokenizer
from kronos.hub import read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Golden:
    """One stored case: weights, inputs, and what the published code made of them."""

    name: str
    model: Kronos
    tokenizer: KronosTokenizer
    case: dict[str, Any]
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def x(self) -> torch.Tensor:
        """Normalised candles `[B, L, 6]`."""
        return torch.from_numpy(self.inputs["x_normalised"])

    @property
    def stamp(self) -> torch.Tensor:
        """`[B, L + P, 5]`."""
        return torch.from_numpy(self.inputs["stamp"])

    @property
    def times(self) -> pd.Series:
        return pd.Series(pd.to_datetime(self.inputs["timestamps"]))

    @property
    def frames(self) -> list[pd.DataFrame]:
        return [pd.DataFrame(v, columns=self.case["columns"]) for v in self.inputs["ohlcva"]]

    def predictor(self, **more: Any) -> KronosPredictor:
        options = {"device": "cpu", "max_context": self.case["max_context"]} | more
        return KronosPredictor(self.model, self.tokenizer, **options)


def load_golden(name: str) -> Golden:
    folder = GOLDEN / name

    def arrays(file: str) -> dict[str, np.ndarray]:
        with np.load(folder / file, allow_pickle=False) as archive:
            return dict(archive)

    return Golden(
        name,
        read_checkpoint(Kronos, folder / "model"),
        read_checkpoint(KronosTokenizer, folder / "tokenizer"),
        json.loads((folder / "case.json").read_text()),
        arrays("inputs.npz"),
        arrays("expected.npz"),
    )


@pytest.fixture(params=["tiny", "fixed_time"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return load_golden(request.param)


@pytest.fixture
def tiny() -> Golden:
    return load_golden("tiny")
