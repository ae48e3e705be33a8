"""The card of the bundled checkpoint: `card.json` for programs, `README.md` for people.

Knows the card's fields and files; nothing of training or of models. The README is made out of the
JSON alone, so that no figure is in one and not in the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.files import write_whole

CARD, README = "card.json", "README.md"

INTRODUCTION = """# The bundled checkpoint

A small Kronos ({model_parameters:,} parameters) with its tokenizer ({tokenizer_parameters:,}), \
trained by this
repository out of the two samples that it ships. It lets everything run and be tested without a
download. **It is for demonstration only**: no figure below says that anyone should trade on it.
`python -m sandbox.checkpoints.bundled` makes it again; `python -m benchmarks.bundled_eval` measures
it again and rewrites this page out of `card.json`.

## What it saw
- `sample` (ten US stocks) and `sample:ph` (72 Philippine stocks), daily bars up to
  {trained_until}, for its weights; the bars up to {seen_until} to choose its settings and the epoch
  at which it was kept. Everything later is unseen.
- Windows of {lookback} bars, on which a window is normalised, and targets after them; calendar
  stamps are the session's (hour and minute 0). It has seen daily bars alone, and contexts of up to
  {context} bars, though it takes {max_context}.
- The forecaster ends its training on the bars after the lookback alone: those inside it are
  normalised with statistics of their own future. Its fine token is conditioned on the true coarse
  token, in the form in which sampling computes it.

## The samples' flaws are its flaws
- The ten US stocks are giants chosen after the fact; that they rose says nothing about others.
- Philippine splits and stock dividends are inferred from overnight gaps; smaller stock dividends
  and all cash dividends are not taken out; a company delisted before 2019 is missing; one bad tick
  (CEB, 2019-07-09) is left in. Days without a trade are missing sessions.
"""


def _training(card: Mapping[str, Any]) -> str:
    model, tokenizer = card["model"], card["tokenizer"]
    stages = tokenizer["stages"] | model["stages"]
    steps = {name.replace("_", " on "): stage["steps_run"] for name, stage in stages.items()}
    rows = [
        ("coarse token s1", model["validation_loss_s1"], model["unigram_s1"]),
        ("fine token s2, given s1", model["validation_loss_s2"], model["unigram_s2"]),
        ("mean of both", model["validation_loss"], model["unigram"]),
    ]
    table = "\n".join(f"| {name} | {loss:.4f} | {base:.4f} |" for name, loss, base in rows)
    return f"""
## Training
Validation on the target bars of 2018, in nats a token, beside the cost of predicting every token by
its frequency in training ({model["validation_tokens"]:,} tokens):

| token | forecaster | frequency alone |
|---|---|---|
{table}

The fine token costs less than its frequency alone mostly because the coarse one is known by then.
Steps run: {", ".join(f"{name} {n:,}" for name, n in steps.items())}; every stage kept its best
epoch. The tokenizer's mean squared error on normalised 2018 windows is \
{tokenizer["validation_loss"]:.4f}.
"""


def _evaluation(card: Mapping[str, Any]) -> str:
    if "evaluation" not in card:
        return "\n## Evaluation\nNot measured yet.\n"
    found = card["evaluation"]
    rows = "\n".join(
        f"| {row['bars']} | {row['crps']:.5f} | {row['crps_random_walk']:.5f} | "
        f"{row['crps_skill']:+.1%} | {row['crps_driftless']:.5f} | "
        f"{1 - row['crps'] / row['crps_driftless']:+.1%} | "
        f"{row['coverage']:.1%} | {row['coverage_random_walk']:.1%} |"
        for row in found["horizons"]
    )
    ranks = "\n".join(
        f"| {row['bars']} | "
        + " | ".join(
            f"{row[name]['mean']:+.4f} ({row[name]['t']:+.1f})"
            for name in ("rank_ic", "rank_ic_volatility", "rank_ic_reversal")
        )
        + f" | {row['dates']} |"
        for row in found["horizons"]
    )
    return f"""
## Evaluation
{found["forecasts"]:,} forecasts of `{found["data"]}` from {found["start"]} until {found["end"]}, \
every {found["stride"]} sessions, from
{found["lookback"]} bars each, {found["samples"]} paths (T = 1, top_p = 1, seed {found["seed"]}), \
beside a random walk of as many
paths whose steps are drawn from the symbol's own returns in those bars.

Of simple returns against the close at the forecast's start. CRPS (lower is better) is the unbiased
sample estimate, the mean over forecasts; skill is 1 minus the ratio to the random walk's; coverage
is the share of outcomes inside the 5 to 95 % band, which should be 90 %. The driftless walk draws
from the same steps with their mean taken out.

| bars ahead | CRPS | of the walk | skill | driftless | skill | coverage | of the walk |
|---|---|---|---|---|---|---|---|
{rows}

Rank IC: Spearman's correlation over the symbols of a date between score and outcome, the mean over
dates with its t in brackets (forecasts start {found["stride"]} sessions apart, so those that reach
further than that overlap and t flatters them). A random walk ranks nothing: its IC is 0.

| bars ahead | forecast | volatility alone | reversal alone | dates |
|---|---|---|---|---|
{ranks}
"""


def readme(card: Mapping[str, Any]) -> str:
    """The page for people, out of the card."""
    recipe = card["recipe"]
    opening = INTRODUCTION.format(
        model_parameters=card["model"]["parameters"],
        tokenizer_parameters=card["tokenizer"]["parameters"],
        trained_until=card["trained_until"],
        seen_until=card["seen_until"],
        lookback=recipe["lookback"],
        context=recipe["lookback"] + recipe["predictor_horizon"],
        max_context=card["max_context"],
    )
    notes = "".join(f"\n{note}\n" for note in card.get("notes", ()))
    return opening + _training(card) + notes + _evaluation(card)


def read_card(folder: Path) -> dict[str, Any]:
    """The card in `folder`."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text())
    return card


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Both files of the card, each written aside and renamed."""
    for name, text in ((CARD, json.dumps(card, indent=2) + "\n"), (README, readme(card))):
        write_whole(folder / name, text.encode())
