"""Which tokens a nucleus keeps, found without sorting the vocabulary.

Knows probabilities `[R, V]`; nothing of logits, tokens' meaning or draws. Tokens are taken in
falling order of probability for as long as the mass before them is not above `top_p` (Holtzman et
al. 2020, arXiv 1904.09751). The least probability taken is the threshold; its equals stay too.

A histogram finds it: the bits of positive floats are ordered as their values are, so that a shift
of them is a bucket on a logarithmic scale. One pass sums the mass of each bucket, the running sum
over the buckets says in which of them the threshold lies, and only the few probabilities of that
one are put in order. Where rows are few its fixed cost counts: there the most probable candidates
are looked at first, and a sort of the whole row is quickest where they do not hold the mass. The
sort also serves rows whose mass is too close to `top_p` for another order of summation. All three
give the same tokens.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CANDIDATES = 64  # most probable tokens of a row that are looked at first
FEW_ELEMENTS = 1 << 12  # probabilities up to which a sort is quicker than a histogram
MANY_ELEMENTS = 1 << 15  # from here on a histogram is as quick as the candidates are
BITS_OF_ONE = 0x3F800000  # of the float 1.0, the largest probability
SHIFT = 19  # of a float's 23 bits of mantissa 4 remain: 16 buckets for each factor of two
BUCKETS = 16 * 24  # down to 2⁻²⁴; the last one holds all that is smaller
ELEMENTS_AT_ONCE = 1 << 17  # of whole rows on a CPU, to stay in cache
SUM_ERROR = 2.0**-50  # bound on what another order of summation changes in fp64, a summand


def nucleus_threshold(probs: Tensor, top_p: float) -> Tensor:
    """A threshold for each row of `probs [R, V]` fp32, `[R, 1]`: probabilities at or above it are
    the nucleus, the very tokens that `sorted_threshold` keeps."""
    if probs.shape[-1] <= CANDIDATES:
        return sorted_threshold(probs, top_p)
    if probs.numel() > MANY_ELEMENTS or _too_flat(probs, top_p):
        return _whole_row_threshold(probs, top_p)
    threshold, mass = _threshold_among(probs.topk(CANDIDATES, -1).values, top_p)
    beyond = mass <= top_p
    if bool(beyond.any()):
        threshold[beyond] = _whole_row_threshold(probs[beyond], top_p)
    return threshold


def sorted_threshold(probs: Tensor, top_p: float) -> Tensor:
    """The least probability in the nucleus of each row, by a sort of the whole vocabulary."""
    return _threshold_among(probs.sort(-1, descending=True).values, top_p)[0]


def _too_flat(probs: Tensor, top_p: float) -> bool:
    """Whether surely no row's candidates hold the mass."""
    return bool(CANDIDATES * probs.amax() <= top_p)


def _threshold_among(ranked: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Falling probabilities `[R, n]` → the least one taken `[R, 1]`, and the mass of all `[R]`.

    Masses are summed in fp64 and rounded to fp32.
    """
    mass = _widened(ranked).cumsum(-1).float()
    last = (mass <= top_p).sum(-1, keepdim=True).clamp_(max=ranked.shape[-1] - 1)
    return ranked.gather(-1, last), mass[:, -1]


def _widened(x: Tensor) -> Tensor:
    """In fp64, where the device has it."""
    return x if x.device.type == "mps" else x.double()


def _whole_row_threshold(probs: Tensor, top_p: float) -> Tensor:
    if probs.numel() <= FEW_ELEMENTS:
        return sorted_threshold(probs, top_p)
    rows = max(1, ELEMENTS_AT_ONCE // probs.shape[-1])
    parts = probs.split(rows if probs.device.type == "cpu" else len(probs))
    return torch.cat([_histogram_threshold(part, top_p) for part in parts])


def _histogram_threshold(probs: Tensor, top_p: float) -> Tensor:
    wide, bits = _widened(probs), probs.view(torch.int32)
    bucket = torch.rsub(bits, BITS_OF_ONE).bitwise_right_shift_(SHIFT).clamp_(0, BUCKETS - 1)
    mass = wide.new_zeros(len(wide), BUCKETS)
    mass = mass.scatter_add_(1, bucket.long(), wide).cumsum(-1)  # up to the end of each bucket
    limits = _limits(top_p, wide)
    crossing, unsure = _count_within(mass, limits)
    before = F.pad(mass, (1, 0)).gather(-1, crossing)
    ranked = _ranked_where(bucket == crossing.int(), probs)
    last, unsure_inside = _count_within(_widened(ranked).cumsum(-1).add_(before), limits)
    threshold = ranked.gather(-1, last)
    rows = (unsure | unsure_inside)[:, 0]
    if bool(rows.any()):
        threshold[rows] = sorted_threshold(probs[rows], top_p)
    return threshold


def _limits(top_p: float, wide: Tensor) -> Tensor:
    """For sums of each row of `wide [R, V]`, `[R, 2]`: a mass up to the first limit rounds to
    `top_p` or less in fp32, one beyond the second does not, whatever the order of summation."""
    largest = np.float32(top_p)
    halfway = (float(largest) + float(np.nextafter(largest, np.float32(2)))) / 2
    doubt = wide.shape[-1] * SUM_ERROR
    return wide.new_tensor([max(0.0, halfway - doubt), halfway + doubt]).repeat(len(wide), 1)


def _count_within(mass: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """How many of rising masses `[R, n]` are within the limit, the last excepted, and whether that
    is in doubt: `[R, 1]` each."""
    sure, possible = torch.searchsorted(mass, limits, right=True).split(1, -1)
    return sure.clamp(max=mass.shape[-1] - 1), sure != possible


def _ranked_where(chosen: Tensor, probs: Tensor) -> Tensor:
    """The chosen ones of each row in falling order, `[R, most]`, rows with fewer filled with 0."""
    counts = chosen.sum(-1, keepdim=True, dtype=torch.int32)
    places = torch.arange(max(1, int(counts.max())), device=probs.device)
    packed = probs.new_zeros(len(probs), len(places))
    packed = packed.masked_scatter_(places < counts, probs[chosen])
    return packed.sort(-1, descending=True).values
