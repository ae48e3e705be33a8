"""What tuning came to: one sentence in plain words."""

from __future__ import annotations

from sandbox.skill.evidence import FEWEST_DATES
from sandbox.skill.figures import Record
from sandbox.skill.grid import in_words
from sandbox.skill.verdict import T_LIKELY
from sandbox.words import counted

SMALLEST_PCT = 0.05  # rounds to 0.1
SAME = "the same as"


def sentence(model: str, record: Record) -> str:
    """What was chosen, and how much better than the plain settings it was before and after.

    record: what `skill.json` holds of a tuning.
    """
    own, periods = record["models"][model], record["periods"]
    several = counted(len(own["combinations"]), "combination")
    before = f"{counted(periods['before']['dates'], 'date')} whose outcomes were known by "
    tried = f"{model}: of {several} tried on {before}{record['until']}"
    if own["chosen"] is None:
        return f"{tried}, none is chosen, as nothing moved on them."
    best = own["combinations"][own["chosen"]]
    values, plain = (in_words(each["values"], ", ") for each in (best, own["plain"]))
    if best["plain"]:
        text = f"{tried}, the plain settings ({plain}) had the lowest CRPS, and nothing is changed"
    else:
        there = _than(best["before"]["lower_pct"])
        text = f"{tried}, {values} had the lowest CRPS, {there} the plain settings ({plain})"
    return f"{text}; {_after(own, record)}.{_too_few(record)}"


def _after(own: Record, record: Record) -> str:
    best, judged = own["combinations"][own["chosen"]], own["judged"]
    dates, count = counted(record["periods"]["after"]["dates"], "date"), len(own["combinations"])
    there = f"on the {dates} after that day"
    if best["after"]["score"] is None:
        return f"{there} nothing moved, so that the choice is not judged"
    place = f"number {judged['rank']:,} of the {count:,}"
    if best["plain"]:
        return f"{there} they were {place}"
    than = _than(best["after"]["lower_pct"])
    luck = "" if than == SAME else _luck(judged["t"])
    return f"{there} its CRPS was {than} theirs{luck}, which made it {place}"


def _than(lower_pct: float | None) -> str:
    if lower_pct is None or abs(lower_pct) < SMALLEST_PCT:
        return SAME
    return f"{abs(lower_pct):.1f} % {'lower' if lower_pct > 0 else 'higher'} than"


def _luck(t: float | None) -> str:
    if t is None:
        return ""
    return f" (t {t:.1f}{', which luck may explain' if abs(t) < T_LIKELY else ''})"


def _too_few(record: Record) -> str:
    before, after = (record["periods"][name]["dates"] for name in ("before", "after"))
    if min(before, after) >= FEWEST_DATES:
        return ""
    return (
        f" Nothing is claimed: there are {counted(before, 'date')} before and {after:,} after, and "
        f"{FEWEST_DATES} of each are needed to tell better settings from luck."
    )
