"""What a model knows, how surely, and what it does not: one sentence in plain words."""

from __future__ import annotations

from sandbox.skill.evidence import FEWEST_DATES, T_SURE
from sandbox.skill.figures import Record
from sandbox.skill.scores import honest_coverage
from sandbox.skill.summary import AFTER_TUNING, UNSEEN, Kinds, reference

T_LIKELY = 2.0
BAND_PCT = 90
NEAR_PCT = 2.0  # of a band's share, that is called right


def verdict(record: Record, kinds: Kinds, model: str, samples: int) -> str:
    """Of one model, at the last bar of the horizon, on the dates that are judged."""
    span = record["spans"][record["judged"]]
    h = str(record["headline"])
    figures = span["figures"][model][h]
    dates = figures["dates"]
    which = {UNSEEN: " it had not seen", AFTER_TUNING: " after tuning"}.get(record["judged"], "")
    if dates < FEWEST_DATES:
        return (
            f"{model}: nothing is claimed, as there are {_dates(dates)} and {FEWEST_DATES} are "
            "needed to tell skill from luck."
        )
    parts = [
        _distribution(span, kinds, model, h),
        _ranking(span, kinds, model, h),
        _band(figures, samples),
        _volatility(span, kinds, model, h),
    ]
    bars = "1 bar" if h == "1" else f"{h} bars"
    return f"{model}, {bars} ahead on {_dates(dates)}{which}: {'; '.join(parts)}."


def _distribution(span: Record, kinds: Kinds, model: str, h: str) -> str:
    """Whether its samples are nearer to what came than those of baselines."""
    plain, hardest = reference(kinds), _hardest(span, kinds, h, "crps")
    first = span["against"][model][plain][h]["crps"]
    last = span["against"][model][hardest][h]["crps"]
    beaten, best = (_surely(each["t"]) for each in (first, last))
    if hardest == plain or (beaten and best) or (not beaten and not _surely(first["t"], -1)):
        shown, name = (last, hardest)
        tail = "" if hardest == plain else ", the hardest baseline"
        what = _verb(shown["t"], "its forecasts of what may come are {} {}'s")
        return what.format(name) + f"{tail} ({_lead(shown)})"
    if beaten:
        but = "worse than" if _surely(last["t"], -1) else "not shown to be better than"
        return (
            f"its forecasts of what may come are {beaten} better than {plain}'s "
            f"({_lead(first)}), and {but} {hardest}'s ({_lead(last)})"
        )
    return (
        f"its forecasts of what may come are {_surely(first['t'], -1)} worse than {plain}'s "
        f"({_lead(first)})"
    )


def _verb(t: float | None, text: str) -> str:
    """`text` with one place left for a name."""
    if word := _surely(t):
        return text.replace("{}", f"{word} better than", 1)
    if word := _surely(t, -1):
        return text.replace("{}", f"{word} worse than", 1)
    return text.replace("{}", "neither better nor worse than", 1)


def _hardest(span: Record, kinds: Kinds, h: str, figure: str) -> str:
    """The baseline or naive signal with the lowest loss."""
    known = {
        name: value
        for name, kind in kinds.items()
        if kind != "model" and (value := _loss(span["figures"][name][h], figure)) is not None
    }
    return min(known, key=known.__getitem__) if known else reference(kinds)


def _loss(figures: Record, figure: str) -> float | None:
    loss: float | None = figures["volatility"]["mae"] if figure == "volatility" else figures[figure]
    return loss


def _ranking(span: Record, kinds: Kinds, model: str, h: str) -> str:
    """Whether it knows which symbols will do better than others."""
    figures = span["figures"][model][h]
    rank, own = figures["rank_ic"], figures["own_rank_ic"]
    if rank["mean"] is None:
        return "which symbols do better than others cannot be told from so few symbols"
    value = f"rank IC {rank['mean']:+.3f}"
    if rank["t"] is None:
        return f"which symbols do better is judged on too few dates ({value})"
    told = f"{value}, t {rank['t']:.1f}"
    if word := _surely(rank["t"]):
        left = _surely(own["t"])
        still = (
            "" if own["mean"] is None else
            f", of which {own['mean']:+.3f} is left without beta, volatility and reversal"
            f"{'' if left else ', no longer sure'}"
        )  # fmt: skip
        more = _as_well(span, kinds, model, h)
        return f"it {word} knows something of which symbols do better ({told}{still}){more}"
    if word := _surely(rank["t"], -1):
        return f"it {word} ranks symbols the wrong way round ({told})"
    needed = rank["dates_needed"]
    more = f"; t = {T_SURE:g} would take {needed:,} dates like these" if needed else ""
    return f"it does not show that it knows which symbols do better ({told}{more})"


def _as_well(span: Record, kinds: Kinds, model: str, h: str) -> str:
    """The naive source that orders symbols about as well; empty: none does."""
    ranks = {
        name: span["figures"][name][h]["rank_ic"]
        for name, kind in kinds.items()
        if kind != "model" and _surely(span["figures"][name][h]["rank_ic"]["t"])
    }
    if not ranks:
        return ""
    best = max(ranks, key=lambda name: ranks[name]["mean"])
    if _surely(span["against"][model][best][h]["rank_ic"]["t"]):
        return ""
    return f", but is not shown to know more than {best} does ({ranks[best]['mean']:+.3f})"


def _band(figures: Record, samples: int) -> str:
    held = figures["inside"][str(BAND_PCT)]
    if held is None:
        return "its band is not known"
    honest = 100 * honest_coverage(BAND_PCT / 100, samples)
    share = f"{100 * held:.0f} %"
    if honest < BAND_PCT:
        share += f" ({honest:.0f} % would be right for {samples} samples)"
    half = f", its 50 % band {100 * figures['inside']['50']:.0f} %"
    if 100 * held < honest - NEAR_PCT:
        return f"its {BAND_PCT} % band is too narrow and held {share}{half}"
    if 100 * held > honest + NEAR_PCT:
        return f"its {BAND_PCT} % band is too wide and held {share}{half}"
    return f"its {BAND_PCT} % band held {share}{half}"


def _volatility(span: Record, kinds: Kinds, model: str, h: str) -> str:
    hardest = _hardest(span, kinds, h, "volatility")
    against = span["against"][model][hardest][h]["volatility"]
    return _verb(against["t"], "it tells volatility {} {}").format(hardest) + (
        f" ({_lead(against, 'error')})"
    )


def _surely(t: float | None, sign: int = 1) -> str:
    """How surely a t of that sign shows something; empty: it does not."""
    if t is None or sign * t < T_LIKELY:
        return ""
    return "surely" if sign * t >= T_SURE else "probably"


def _lead(against: Record, what: str = "CRPS") -> str:
    """`CRPS 2.1 % lower, t 3.4`; of a loss of 0 there is no per cent."""
    skill, lead, t = against["skill_pct"], against["lead"], against["t"]
    if skill is None and not lead:
        return f"{what} of 0 on both sides"
    much, side = (f"{abs(lead):.2g}", lead) if skill is None else (f"{abs(skill):.1f} %", skill)
    size = f"{what} {much} {'lower' if side >= 0 else 'higher'}"
    return size if t is None else f"{size}, t {t:.1f}"


def _dates(count: int) -> str:
    return f"{count:,} date{'' if count == 1 else 's'}"
