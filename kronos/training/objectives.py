"""The losses of the tokenizer and of the forecaster.

Knows batches `(x [B, W, 6], stamp [B, W, 5])` and modules; nothing of optimisers, epochs or files.
An objective is a module whose forward is the loss, so that what spreads training over workers can
wrap it whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import TrainingError
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer
from kronos.training.dataset import WindowBatch

OBJECTIVES = ("published", "sandbox")  # names that `predictor_objective` takes


@dataclass(frozen=True)
class Tally:
    """A sum over `count` tokens (or values); tallies of batches and of workers add up."""

    total: float
    count: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> float:
        if self.count == 0:
            raise TrainingError("the validation set is empty: no token to take a loss over")
        return self.total / self.count


class TokenizerObjective(nn.Module):
    """`(mse(from s1) + mse(from both) + quantiser loss) / 2`; validated by mse(from both).

    The quantiser's entropy is that of a batch, so batches on several workers, or accumulated ones,
    come near one whole batch but do not equal it.
    """

    def __init__(self, tokenizer: KronosTokenizer) -> None:
        super().__init__()
        self.model = tokenizer

    def forward(
        self,
        x: Tensor,
        stamp: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Training loss of windows `x [B, W, 6]`; the other arguments are not used: every objective
        takes them."""
        (coarse, full), quantiser_loss, _, _ = self.model(x)
        loss: Tensor = (F.mse_loss(coarse, x) + F.mse_loss(full, x) + quantiser_loss) / 2
        return loss

    def tally(self, x: Tensor, stamp: Tensor) -> Tally:
        """Squared error of the whole reconstruction over every value of the windows."""
        (_, full), _, _, _ = self.model(x)
        return Tally(float(F.mse_loss(full, x, reduction="sum")), x.numel())


def s2_logits_as_sampled(model: Kronos, states: Tensor, s1: Tensor) -> Tensor:
    """`states [B, T, d]`, `s1 [B, T]` → s2 logits `[B, T, V2]` of every position at once.

    Position t gets exactly what `decode_s2` gives for one query after t bars, which is how samples
    are drawn: states up to t only, queries and keys not rotated. The model's forward differs: it
    rotates both, and in evaluation mode it lets a position attend to later ones.
    """
    attn = model.dep_layer.cross_attn
    query, keys = attn.q_proj(model.embedding.emb_s1(s1)), attn.k_proj(states)
    q, k, v = attn.split(query), attn.split(keys), attn.split(attn.v_proj(states))
    mixed = attn.attend(q, k, v, True, None)
    return model.head.cond_forward(model.dep_layer.norm(states + mixed))


class PredictorObjective(nn.Module):
    """Cross-entropy of the next bar's s1 and s2, the mean of both, in nats a token.

    `lookback` bars of a window are context. With `targets_only` the loss is taken on the bars
    after them alone: those inside were normalised with statistics of their own future, and a model
    that learns from them learns that prices come back to the window's mean.

    `teacher_forcing` conditions s2 on the true s1, so that s1 and s2 together are a likelihood;
    without it s2 is conditioned on an s1 drawn from the model, as the published training does, and
    learns to ignore it. `as_sampled` trains s2 in the form that sampling uses
    (`s2_logits_as_sampled`), else in the published form (rotated).

    Validation always uses true s1, the form of sampling, and the targets after the lookback.
    """

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        lookback: int,
        *,
        targets_only: bool = True,
        teacher_forcing: bool = True,
        as_sampled: bool = True,
    ) -> None:
        super().__init__()
        if (model.s1_bits, model.s2_bits) != (tokenizer.s1_bits, tokenizer.s2_bits):
            raise TrainingError(
                f"the model's tokens have {model.s1_bits} + {model.s2_bits} bits, the tokenizer's "
                f"{tokenizer.s1_bits} + {tokenizer.s2_bits}"
            )
        self.model = model
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.lookback, self.targets_only = lookback, targets_only
        self.teacher_forcing, self.as_sampled = teacher_forcing, as_sampled

    def train(self, mode: bool = True) -> PredictorObjective:
        super().train(mode)
        self.tokenizer.eval()
        return self

    @torch.no_grad()
    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Candles `[B, W, 6]` → s1, s2 ids `[B, W]`; in fp32 always, as forecasts tokenise."""
        with torch.autocast(x.device.type, enabled=False):
            return self.tokenizer.encode(x, half=True)

    def forward(self, x: Tensor, stamp: Tensor, generator: torch.Generator) -> Tensor:
        """Training loss of windows `x [B, W, 6]`, `stamp [B, W, 5]`, in nats a token."""
        s1, s2 = self.tokens(x)
        logits1, states = self.model.decode_s1(s1[:, :-1], s2[:, :-1], stamp[:, :-1])
        known_s1 = s1[:, 1:]
        if not self.teacher_forcing:
            probs = logits1.detach().float().softmax(-1).flatten(0, 1)
            known_s1 = torch.multinomial(probs, 1, generator=generator).view(known_s1.shape)
        if self.as_sampled:
            logits2 = s2_logits_as_sampled(self.model, states, known_s1)
        else:
            logits2 = self.model.decode_s2(states, known_s1)
        bars = slice(self.lookback - 1 if self.targets_only else 0, None)
        loss: Tensor = self.model.head.compute_loss(
            logits1[:, bars].float(),
            logits2[:, bars].float(),
            s1[:, 1:][:, bars],
            s2[:, 1:][:, bars],
        )[0]
        return loss

    def tally(self, x: Tensor, stamp: Tensor) -> Tally:
        """Nats over both tokens of every target bar."""
        s1, s2 = self.tally_each(x, stamp)
        return s1 + s2

    def tally_each(self, x: Tensor, stamp: Tensor) -> tuple[Tally, Tally]:
        """Nats of s1 and of s2 (given the true s1) of every target bar."""
        s1, s2 = self.tokens(x)
        logits1, states = self.model.decode_s1(s1[:, :-1], s2[:, :-1], stamp[:, :-1])
        logits2 = s2_logits_as_sampled(self.model, states, s1[:, 1:])
        after = self.lookback
        return (
            _nats(logits1[:, after - 1 :], s1[:, after:]),
            _nats(logits2[:, after - 1 :], s2[:, after:]),
        )


def predictor_objective(
    name: str, model: Kronos, tokenizer: KronosTokenizer, lookback: int
) -> PredictorObjective:
    """The forecaster's loss by its name in `OBJECTIVES`; raises `TrainingError` for another one.

    `published` is what mini, small and base were trained on: every bar of a window, the lookback's
    too, and s2 conditioned on an s1 drawn from the model, in the published (rotated) form.
    `sandbox` is what the bundled model was finished on: the bars after the lookback alone, and s2
    conditioned on the true s1, in the form that sampling uses. Both validate alike.
    """
    if name not in OBJECTIVES:
        known = " or ".join(OBJECTIVES)
        raise TrainingError(f"there is no objective '{name}': it is {known}")
    ours = name == "sandbox"
    return PredictorObjective(
        model, tokenizer, lookback, targets_only=ours, teacher_forcing=ours, as_sampled=ours
    )


def _nats(logits: Tensor, ids: Tensor) -> Tally:
    """Cross-entropy of `ids [B, T]` under `logits [B, T, V]`, summed in fp64."""
    wide = logits.detach().double().flatten(0, 1)
    return Tally(float(F.cross_entropy(wide, ids.flatten(), reduction="sum")), ids.numel())


def unigram_nats(train_counts: Tensor, validation_ids: Tensor) -> float:
    """Mean nats of `validation_ids` under training frequencies `train_counts [V]`.

    One is added to every count, so that a token never seen in training costs a finite amount.
    """
    if validation_ids.numel() == 0:
        raise TrainingError("the validation set is empty: no token to take an entropy over")
    counts = train_counts.double() + 1
    return float(-(counts / counts.sum()).log()[validation_ids.flatten()].mean())


def token_counts(
    objective: PredictorObjective, batches: Iterable[WindowBatch]
) -> tuple[Tensor, Tensor]:
    """How often every s1 `[V1]` and s2 `[V2]` occurs among the batches' target bars."""
    sizes = (2**objective.model.s1_bits, 2**objective.model.s2_bits)
    totals = [torch.zeros(size, dtype=torch.int64) for size in sizes]
    for x, _ in batches:
        for i, ids in enumerate(objective.tokens(x)):
            targets = ids[:, objective.lookback :].flatten().cpu()
            totals[i] += torch.bincount(targets, minlength=sizes[i])
    return totals[0], totals[1]
