"""Hold the k symbols whose forecast rises most, and drop at most `n_drop` of them at a time.

The rule of Qlib's TopkDropoutStrategy, at the first close of each week: the names held are ranked
together with the best ones not held, as many as there are free places and `n_drop` more. Names
held that come after the k-th place are sold, if they were held for `hold_thresh` bars; the best
new names take the free places. (Qlib also buys for a name that it may not sell yet, and then has
more than k; and where names are too few to fill the places, it sells all the same.)

The money that is free is split over the free places. What is held is left alone, as in Qlib, and
so drifts from equal parts; `equalize` brings it back to 1/k each time. A name without a forecast
now is neither bought nor sold, nor is one without a bar; but one that is no member of its universe
any more ranks last, as in Qlib, and so is among the first to be sold.
"""

from collections.abc import Callable, Mapping
from math import inf
from statistics import fmean

from sandbox import CandleFeed, Forecast, Strategy

LEAST_SPREAD = 1e-6  # names without spread, all of them surer than that, rank by return


def mean_path(f: Forecast) -> list[float]:
    """The mean over samples of the close, bar by bar, as returns from the last close."""
    return [f.expected_return(h) for h in range(1, f.horizon + 1)]


# The first four are those of the reference's backtest, which has them in standard deviations of
# the bars that the model saw; here they are returns.
SCORES: Mapping[str, Callable[[Forecast], float]] = {
    "last": lambda f: f.expected_return(),
    "mean": lambda f: fmean(mean_path(f)),
    "max": lambda f: max(mean_path(f)),
    "min": lambda f: min(mean_path(f)),
    "median": lambda f: f.quantile(0.5),  # over samples, at the end of the horizon
    "return/spread": lambda f: f.expected_return() / max(f.uncertainty(), LEAST_SPREAD),
}


class TopK(Strategy):
    params = (
        ("k", 3),  # names held
        ("n_drop", 1),  # names sold at a time, at most
        ("hold_thresh", 1),  # bars a name is held before it may be sold
        ("score", "last"),  # what names are ranked by, one of SCORES
        ("equalize", False),  # bring what is held back to 1/k, too
        ("rebalance", "week"),
    )
    allowed = (
        ("k", (1, inf)),
        ("n_drop", (0, inf)),
        ("hold_thresh", (0, inf)),
        ("score", tuple(SCORES)),
    )

    def next(self) -> None:
        if self.due:
            score, held = SCORES[self.p.score], self.weights()
            scores = {data: score(forecast) for data, forecast in self.forecasts().items()}
            left = {data: -inf for data in held if data.has_bar and not data.is_member}
            keep, new = self.drop_out(held, scores | left)
            fixed = [data for data in keep if not (self.p.equalize and data in scores)]
            sized = [data for data in keep if data not in fixed] + new
            free = max(0.0, 1 - sum(held[data] for data in fixed))
            share = free / max(1, self.p.k - len(fixed))
            self.order_target_weights(dict.fromkeys(sized, share), keep=fixed)

    def drop_out(
        self, held: Mapping[CandleFeed, float], scores: Mapping[CandleFeed, float]
    ) -> tuple[list[CandleFeed], list[CandleFeed]]:
        """The names that stay, and those to buy, best first."""
        k, known = self.p.k, [data for data in held if data in scores]
        best = sorted([d for d in scores if d not in held], key=scores.__getitem__, reverse=True)
        new = best[: max(0, k - len(held) + self.p.n_drop)]
        ranked = sorted(known + new, key=scores.__getitem__, reverse=True)
        fallen = ranked[max(0, k - len(held) + len(known)) :]
        keep = [d for d in held if d not in fallen or self.bars_held(d) < self.p.hold_thresh]
        return keep, new[: max(0, k - len(keep))]
