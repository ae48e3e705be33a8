"""The sampler of a model and a tokenizer as they are at this moment.

Knows modules and samplers; nothing of candles. The fused sampler is a frozen copy, so before each
use the modules are compared with what it was made of: their structure, every bit of their weights,
and the settings. Where they are not the plain modules they are called as they are, uncached.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

from kronos.errors import UncachedWarning
from kronos.inference.checksum import weights_checksum
from kronos.inference.plain import PlainSampler
from kronos.inference.sampler import Sampler
from kronos.inference.structure import departures
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

PACKAGE = Path(__file__).parents[1]
AnySampler = Sampler | PlainSampler


class CurrentSampler:
    """Hands out a sampler, and keeps it for as long as nothing that it depends on changes."""

    def __init__(self) -> None:
        self._state: object = None
        self._sampler: Sampler | None = None
        self._warned: set[str] = set()

    def get(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        max_context: int,
        dtype: str,
        max_bytes: int,
    ) -> AnySampler:
        """The arguments are those of `Sampler`. Says once for each cause why it is uncached."""
        causes = departures(model, tokenizer)
        if causes:
            self._state = self._sampler = None
            self._warn([cause for cause in causes if cause not in self._warned])
            return PlainSampler(model, tokenizer, max_context)
        # How products are split, and with it the last bits, can hang on the number of threads.
        settings = max_context, dtype, max_bytes, torch.get_num_threads()
        state = weights_checksum(model, tokenizer), settings
        if self._sampler is None or self._state != state:
            self._state = self._sampler = None  # before another copy of the weights is made
            self._sampler = Sampler(model, tokenizer, max_context, dtype, max_bytes)
            self._state = state
        return self._sampler

    def _warn(self, causes: list[str]) -> None:
        if not causes:
            return
        self._warned.update(causes)
        more = f" (and {len(causes) - 1} more like it)" if len(causes) > 1 else ""
        warnings.warn(
            f"{causes[0]}{more}: forecasts call the modules as they are, without caches, which is "
            "much slower, in the modules' own dtype; for fast ones merge adapters into the weights",
            UncachedWarning,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """`stacklevel` of the first caller outside this package, for a warning raised by `_warn`."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and PACKAGE in Path(frame.f_code.co_filename).parents:
        level, frame = level + 1, frame.f_back
    return level
