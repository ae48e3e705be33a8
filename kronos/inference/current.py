"""The sampler of a model and a tokenizer as they are at this moment.

Knows modules and samplers; nothing of candles. The fused sampler is a frozen copy, so before each
use the modules are compared with what it was made of: their structure, every bit of their weights,
and the settings. Modules that are not the plain ones are called as they are, without caches.
"""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from kronos.errors import UncachedWarning, warn_caller
from kronos.inference.batch import SeriesBatch
from kronos.inference.checksum import weights_checksum
from kronos.inference.plain import PlainSampler
from kronos.inference.sampler import Sampler
from kronos.inference.sampling import SamplingParams
from kronos.inference.structure import departures
from kronos.model import Kronos
from kronos.prepare import whole_number
from kronos.tokenizer import KronosTokenizer

AnySampler = Sampler | PlainSampler


class CurrentSampler:
    """Gives a sampler, and keeps it for as long as nothing that it depends on changes."""

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
        """A sampler for the arguments of `Sampler`; warns once of each cause that makes it a plain
        one."""
        causes = departures(model, tokenizer)
        if causes:
            self._state = self._sampler = None
            self._warn([cause for cause in causes if cause not in self._warned])
            return PlainSampler(model, tokenizer, max_context)
        state = weights_checksum(model, tokenizer), (max_context, dtype, max_bytes)
        if self._sampler is None or self._state != state or not self._sampler.suits_threads():
            self._state = self._sampler = None  # before another copy of the weights is made
            self._sampler = Sampler(model, tokenizer, max_context, dtype, max_bytes)
            self._state = state
        return self._sampler

    def _warn(self, causes: list[str]) -> None:
        if not causes:
            return
        self._warned.update(causes)
        more = f" (and {len(causes) - 1} more like it)" if len(causes) > 1 else ""
        warn_caller(
            f"{causes[0]}{more}: forecasts call the modules as they are, without caches, which is "
            "much slower, in the modules' own dtype; for fast ones merge adapters into the weights",
            UncachedWarning,
        )


def sample_with_bar(
    sampler: AnySampler,
    batch: SeriesBatch,
    params: SamplingParams,
    sample_count: int,
    verbose: bool,
) -> np.ndarray:
    """Normalised paths `[B, S, P, 6]`, with a progress bar where `verbose`."""
    samples = whole_number(sample_count, "sample_count", 1)
    with tqdm(total=len(batch.x), unit="series", disable=not verbose) as bar:
        return sampler.sample(batch, params, samples, progress=bar.update)
