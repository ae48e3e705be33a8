"""Which tokens a nucleus keeps, found without sorting the vocabulary.

Knows probabilities `[R, V]`; nothing of logits, tokens' meaning or draws. Tokens are taken in
falling order of probability for as long as the mass before them is not above `top_p` (Holtzman et
al. 2020, arXiv 1904.09751). The least probability taken is the threshold; its equals stay too.

Three ways give the same tokens. A few candidates hold the mass of a peaked row. For other rows
there is a histogram: the bits of positive floats are ordered as their values are, so that a shift
of them is a bucket on a logarithmic scale; one pass sums the mass of each bucket, the running sum
over the buckets says in which of them the threshold lies, and only the few probabilities of that
one are put in order. A sort of the whole row says what is meant; it serves few rows, for which it
is quickest, and rows whose mass is too close to `top_p` for another order of summation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 64  # most probable tokens of a row that are looked at first
FEW_ELEMENTS = 1 << 12  # up to here a sort is quicker than a histogram
BITS_OF_ONE = 0x3F800000  # of the float 1.0, the largest probability
SHIFT = 19  # of a float's 23 bits of mantissa 4 remain: 16 buckets for each factor of two
BUCKETS = 16 * 24  # down to 2⁻²⁴; the last one holds all that is smaller
ROWS_AT_ONCE = 64  # on a CPU, to stay in cache
SUM_ERROR = 2.0**-50  # bound on what another order of summation changes in fp64, a summand


def nucleus_threshold(probs: Tensor, top_p: float) -> Tensor:
    """A threshold for each row of `probs [R, V]` fp32, `[R, 1]`: probabilities at or above it are
    the nucleus, the very tokens that `sorted_threshold` keeps."""
    if probs.shape[-1] <= CANDIDATES:
        return sorted_threshold(probs, top_p)
    if bool(CANDIDATES * probs.amax() <= top_p):  # no row's candidates can hold that mass
        return _whole_row_threshold(probs, top_p)
    threshold, mass = _threshold_among(probs.topk(CANDIDATES, -1).values, top_p)
    beyond = mass <= top_p
    if bool(beyond.any()):
        threshold[beyond] = _whole_row_threshold(probs[beyond], top_p)
    return threshold


def sorted_threshold(probs: Tensor, top_p: float) -> Tensor:
    """The least probability in the nucleus of each row, by a sort of the whole vocabulary."""
    return _threshold_among(probs.sort(-1, descending=True).values, top_p)[0]


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
    rows = ROWS_AT_ONCE if probs.device.type == "cpu" else len(probs)
    return torch.cat([_histogram_threshold(part, top_p) for part in probs.split(rows)])


def _histogram_threshold(probs: Tensor, top_p: float) -> Tensor:
    wide, bits = _widened(probs), probs.view(torch.int32)
    bucket = torch.rsub(bits, BITS_OF_ONE).bitwise_right_shift_(SHIFT).clamp_(0, BUCKETS - 1)
    mass = wide.new_zeros(len(probs), 1 + BUCKETS)  # before each bucket, and after the last
    mass = mass.scatter_add_(1, bucket.long().add_(1), wide).cumsum(-1)
    limits = _limits(top_p, probs.shape[-1])
    crossing, unsure = _count_within(mass[:, 1:], limits)
    inside = bucket == crossing.int()
    most = max(1, int(inside.sum(-1).max()))
    ranked = (probs * inside).topk(most, -1).values
    mass_inside = _widened(ranked).cumsum(-1).add_(mass.gather(-1, crossing))
    last, unsure_inside = _count_within(mass_inside, limits)
    threshold = ranked.gather(-1, last)
    rows = (unsure | unsure_inside)[:, 0]
    if bool(rows.any()):
        threshold[rows] = sorted_threshold(probs[rows], top_p)
    return threshold


def _limits(top_p: float, summands: int) -> tuple[float, float]:
    """A mass up to the first rounds to `top_p` or less in fp32, one beyond the second does not,
    whatever the order in which it was summed."""
    largest = np.float32(top_p)
    halfway = (float(largest) + float(np.nextafter(largest, np.float32(2)))) / 2
    return halfway - summands * SUM_ERROR, halfway + summands * SUM_ERROR


def _count_within(mass: Tensor, limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """How many of rising masses `[R, n]` are within the limit, the last excepted, and whether that
    is in doubt: `[R, 1]` each."""
    sure, possible = ((mass <= limit).sum(-1, keepdim=True) for limit in limits)
    return sure.clamp(max=mass.shape[-1] - 1), sure != possible
