"""How fast sampling is, beside the published code, in one process.

    python -m benchmarks.kronos_speed --reference PATH   # a checkout of the published repository
    python -m benchmarks.kronos_speed                    # our own figures only

Random weights at the size of a published model, the same inputs for both, greedy, so that token ids
can be compared. Runs of the two sides alternate and the best of each counts, as other work on the
machine only ever adds time. Prints ratio, sampled bars a second, share of this machine's measured
matrix-product peak, what a nucleus costs with and without a sort of the vocabulary, what bfloat16
does to forecasts, the share of sampled tokens that another number of threads flips, and peak
memory.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a second
    from sandbox.interrupts import end_on_signals

    end_on_signals()

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from kronos import Kronos, KronosTokenizer
from kronos.inference.batch import SeriesBatch
from kronos.inference.nucleus import nucleus_threshold, sorted_threshold
from kronos.inference.sampler import Sampler
from kronos.inference.sampling import SamplingParams

GREEDY = SamplingParams(top_k=1)
DROPOUT: dict[str, Any] = {"ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0}
BITS: dict[str, Any] = {"s1_bits": 10, "s2_bits": 10}
SIZES: dict[str, dict[str, Any]] = {
    "mini": {"d_model": 256, "n_layers": 4, "n_heads": 4, "ff_dim": 512},
    "small": {"d_model": 512, "n_layers": 8, "n_heads": 8, "ff_dim": 1024},
    "base": {"d_model": 832, "n_layers": 12, "n_heads": 16, "ff_dim": 2048},
}
TOKENIZER: dict[str, Any] = {
    "d_in": 6, "d_model": 256, "n_heads": 4, "ff_dim": 512, "n_enc_layers": 4, "n_dec_layers": 4,
    "beta": 0.05, "gamma0": 1.0, "gamma": 1.1, "zeta": 0.05, "group_size": 5,
}  # fmt: skip
CONTEXT = 512  # bars


@dataclass(frozen=True)
class Workload:
    """B series of L bars, P bars ahead, S samples each; ratios aimed at in fp32 and bf16."""

    b: int
    length: int
    horizon: int
    samples: int
    fp32_target: float | None
    bf16_target: float | None

    @property
    def label(self) -> str:
        return f"B={self.b} L={self.length} P={self.horizon} S={self.samples}"

    def batch(self) -> SeriesBatch:
        generator = np.random.default_rng(0)
        x = generator.normal(0, 0.1, (self.b, self.length, 6)).cumsum(1).clip(-5, 5)
        top = np.array([60, 24, 7, 32, 13])
        stamps = generator.integers(0, top, (self.b, self.length + self.horizon, 5))
        return SeriesBatch(x.astype(np.float32), stamps, list(range(self.b)))


WORKLOADS = [
    Workload(1, 400, 100, 1, 15, None),
    Workload(64, 90, 10, 5, 20, 60),
    Workload(98, 252, 20, 1, 10, 30),
    Workload(2, 400, 100, 20, 150, 400),
]
LARGE = Workload(64, 400, 100, 20, None, None)  # for peak memory


class Recorder(Sampler):
    """A sampler that keeps the ids it drew."""

    drawn: list[np.ndarray]

    def _draw_ids(self, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        ids = super()._draw_ids(*args)
        self.drawn.append(torch.stack(ids, -1).cpu().numpy())
        return ids


def drawn_rows(w: Workload, sampler: Recorder) -> np.ndarray:
    """Ids of the last run, `[R, P, 2]`, without the rows that fill a single series' tile."""
    return np.concatenate(sampler.drawn)[: w.b * w.samples]


def build(size: str) -> tuple[Kronos, KronosTokenizer]:
    torch.manual_seed(0)
    model = Kronos(**SIZES[size], **BITS, **DROPOUT, token_dropout_p=0.0, learn_te=True)
    return model.eval(), KronosTokenizer(**TOKENIZER, **BITS, **DROPOUT).eval()


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matmul_peak(dtype: torch.dtype, device: str) -> float:
    """Operations a second of a large matrix product with a transposed weight, the best of five."""
    side = 2048 if dtype == torch.float32 or device != "cpu" else 1024
    a = torch.randn(side, side, device=device).to(dtype)
    return float(2 * side**3 / min(timed(lambda: a @ a.T) for _ in range(5)))


def operations(size: str, w: Workload) -> float:
    """Multiplications and additions that our way needs, matrix products only."""

    def block(d: int, ff: int) -> int:
        return 4 * d * d + 3 * d * ff

    def attention(d: int, queries: int, keys: float) -> float:
        return 2 * d * queries * keys

    s, rows = SIZES[size], w.b * w.samples
    d, ff, layers, vocabulary = s["d_model"], s["ff_dim"], s["n_layers"], 2 ** BITS["s1_bits"]
    td, tff, blocks = TOKENIZER["d_model"], TOKENIZER["ff_dim"], TOKENIZER["n_enc_layers"] - 1
    length, horizon = w.length, w.horizon
    prefix = w.b * length * (layers * block(d, ff) + 2 * d * d)
    prefix += w.b * layers * attention(d, length, length / 2)
    encode = w.b * (length * blocks * block(td, tff) + blocks * attention(td, length, length / 2))
    decoded = length * ((blocks - 1) * block(td, tff) + 2 * td * td)
    decode = w.b * (decoded + (blocks - 1) * attention(td, length, length / 2))
    decode += rows * horizon * blocks * (block(td, tff) + 2 * td * (length + horizon / 2))
    step = layers * block(d, ff) + 2 * d * d + d * d + 2 * d * vocabulary
    step += int((layers + 1) * attention(d, 1, length + horizon / 2))
    return 2 * (prefix + encode + decode + rows * horizon * step)


class Reference:
    """The published code, imported from a checkout and given our weights."""

    def __init__(self, path: Path, model: Kronos, tokenizer: KronosTokenizer, size: str) -> None:
        sys.path.insert(0, str(path))
        package = importlib.import_module("model")
        self.infer = importlib.import_module("model.kronos").auto_regressive_inference
        self.model = package.Kronos(
            **SIZES[size], **BITS, **DROPOUT, token_dropout_p=0.0, learn_te=True
        ).eval()
        self.tokenizer = package.KronosTokenizer(**TOKENIZER, **BITS, **DROPOUT).eval()
        self.model.load_state_dict(model.state_dict())
        self.tokenizer.load_state_dict(tokenizer.state_dict())
        self._decode = self.tokenizer.decode
        self.tokenizer.decode = self._keep
        self.ids: Any = None

    def _keep(self, ids: Any, half: bool = False) -> Any:
        self.ids = ids
        return self._decode(ids, half)

    def run(self, w: Workload, batch: SeriesBatch) -> None:
        stamps = torch.from_numpy(batch.stamps).float()
        self.infer(
            self.tokenizer, self.model, torch.from_numpy(batch.x), stamps[:, : w.length],
            stamps[:, w.length :], CONTEXT, w.horizon, 5, 1.0, 1, 1.0, w.samples,
        )  # fmt: skip

    def tokens(self, w: Workload) -> np.ndarray:
        """Ids of the last run, `[R, P, 2]`."""
        return torch.stack([part[:, -w.horizon :] for part in self.ids], -1).numpy()


def measure(
    w: Workload, size: str, samplers: dict[str, Recorder], reference: Reference | None, repeats: int
) -> None:
    """One row of the table for each dtype."""
    batch = w.batch()
    best = dict.fromkeys([*samplers, "reference"], float("inf"))
    for sampler in samplers.values():  # warm up
        sampler.drawn = []
        sampler.sample(batch, GREEDY, w.samples)
    for _ in range(repeats):
        for name, sampler in samplers.items():
            sampler.drawn = []
            run = timed(lambda s=sampler: s.sample(batch, GREEDY, w.samples))  # type: ignore[misc]
            best[name] = min(best[name], run)
        if reference is not None:
            best["reference"] = min(best["reference"], timed(lambda: reference.run(w, batch)))
    for name, sampler in samplers.items():
        peak = matmul_peak(sampler.model.dtype, str(sampler.device))
        ours, target = best[name], w.fp32_target if name == "float32" else w.bf16_target
        row = [w.label, name, f"{ours:.3f} s", f"{w.b * w.samples * w.horizon / ours:,.0f} bars/s"]
        row.append(f"{operations(size, w) / ours / peak:.0%} of peak ({peak / 1e9:.0f} GFLOP/s)")
        if reference is not None:
            same = (drawn_rows(w, sampler) == reference.tokens(w)).mean()
            aim = f" (aim {target:.0f}x)" if target else ""
            row.append(f"{best['reference'] / ours:.1f}x of {best['reference']:.2f} s{aim}")
            row.append(f"greedy tokens equal {same:.2%}")
        print(" | ".join(row), flush=True)


def nucleus_cost(sampler: Recorder, repeats: int) -> None:
    """The nucleus without a sort beside a sort of the whole vocabulary: whole sampling, one step.

    Random weights have flat rows, of which 64 candidates never hold the mass; trained ones have
    peaked rows.
    """
    w, params = WORKLOADS[1], SamplingParams(top_p=0.9)
    batch, ways = w.batch(), {"no sort": nucleus_threshold, "sort": sorted_threshold}
    best, ids = dict.fromkeys(ways, float("inf")), {}
    for _ in range(repeats + 1):  # the first run warms up
        for name, way in ways.items():
            sampler.drawn = []
            with patch("kronos.inference.sampling.nucleus_threshold", way):
                seconds = timed(lambda: sampler.sample(batch, params, w.samples))
            best[name], ids[name] = min(best[name], seconds), drawn_rows(w, sampler)
    same = "equal" if np.array_equal(ids["no sort"], ids["sort"]) else "DIFFERENT"
    print(
        f"{w.label} top_p=0.9: {best['no sort']:.3f} s, with a sort {best['sort']:.3f} s "
        f"({best['sort'] / best['no sort']:.2f}x), tokens {same}"
    )
    for label, spread in (("flat", 0.6), ("peaked", 4.0)):
        steps = ", ".join(_step_cost(rows, spread) for rows in (4, 40, 320))
        print(f"nucleus of {label} rows: {steps}")


def _step_cost(rows: int, spread: float) -> str:
    """Both ways for `rows` rows of normal logits with that standard deviation."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, 2 ** BITS["s1_bits"], generator=generator) * spread
    probs, best = logits.softmax(-1), [float("inf")] * 2
    for _ in range(20):
        for i, way in enumerate((nucleus_threshold, sorted_threshold)):
            best[i] = min(best[i], timed(lambda way=way: way(probs, 0.9)))  # type: ignore[misc]
    return f"{rows} rows {best[0] * 1e3:.2f} ms ({best[1] / best[0]:.1f}x as fast as a sort)"


def bf16_effect(samplers: dict[str, Recorder]) -> None:
    """What bfloat16 does to the mean and the width of sampled closes."""
    w = Workload(8, 120, 10, 100, None, None)
    closes = {n: s.sample(w.batch(), SamplingParams(), 100)[..., 3] for n, s in samplers.items()}
    spread = closes["float32"].std(axis=1)
    shift = np.abs(closes["bfloat16"].mean(1) - closes["float32"].mean(1)) / spread
    noise = np.sqrt(2 / w.samples)
    widths = {n: np.subtract(*np.quantile(c, (0.95, 0.05), axis=1)) for n, c in closes.items()}
    ratio = widths["bfloat16"] / widths["float32"]
    print(
        f"bfloat16 against float32, {w.samples} samples of {w.b} series: mean close moves by "
        f"{shift.mean():.3f} standard deviations (two independent draws would differ by about "
        f"{noise * 0.8:.3f}); 5-95 % width is {ratio.mean():.3f} times as wide "
        f"({ratio.min():.2f} to {ratio.max():.2f})"
    )


def thread_flips(sampler: Recorder) -> None:
    """The share of sampled tokens that differ between one thread and all of them."""
    w = Workload(64, 120, 20, 20, None, None)
    threads, runs = torch.get_num_threads(), []
    for count in (1, threads):
        torch.set_num_threads(count)
        sampler.drawn = []
        sampler.sample(w.batch(), SamplingParams(), w.samples)
        runs.append(drawn_rows(w, sampler).reshape(w.b * w.samples, -1))
    differ = runs[0] != runs[1]
    flips = differ.any(1).sum()
    drawn = np.where(differ.any(1), differ.argmax(1) + 1, differ.shape[1]).sum()
    print(f"threads 1 and {threads}: {flips} of {drawn} sampled tokens flip ({flips / drawn:.1e})")


def peak_memory(size: str) -> None:
    """In a process of its own: this one's peak is the reference's."""
    command = [sys.executable, "-m", "benchmarks.kronos_speed", "--only-memory", "--size", size]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def peak_resident_kib() -> int:
    """This process's own peak; `getrusage` would count what it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def only_memory(size: str) -> None:
    before = peak_resident_kib()
    sampler = Sampler(*build(size), CONTEXT)
    batch = LARGE.batch()
    seconds = timed(lambda: sampler.sample(batch, GREEDY, LARGE.samples))
    peak = peak_resident_kib()
    print(
        f"{LARGE.label} in fp32: {seconds:.1f} s, peak memory {peak / 2**20:.2f} GiB "
        f"(of it {before / 2**20:.2f} GiB for imports)"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--reference", type=Path, help="a checkout of the published repository")
    parser.add_argument("--size", choices=SIZES, default="mini", help="weights' size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=2, help="runs of each side")
    parser.add_argument("--rows", type=int, nargs="+", help="workloads to run, from 0")
    parser.add_argument("--only-memory", action="store_true", help="measure peak memory alone")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.only_memory:
        only_memory(args.size)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, size {args.size}")
    model, tokenizer = build(args.size)
    model, tokenizer = model.to(args.device), tokenizer.to(args.device)
    samplers = {d: Recorder(model, tokenizer, CONTEXT, d) for d in args.dtypes}
    reference = Reference(args.reference, model, tokenizer, args.size) if args.reference else None
    for i, w in enumerate(WORKLOADS):
        if args.rows is None or i in args.rows:
            measure(w, args.size, samplers, reference, args.repeats)
    if set(samplers) >= {"float32", "bfloat16"}:
        bf16_effect(samplers)
    if "float32" in samplers:
        nucleus_cost(samplers["float32"], args.repeats)
        thread_flips(samplers["float32"])
    if args.device == "cpu":
        peak_memory(args.size)


if __name__ == "__main__":
    main()
