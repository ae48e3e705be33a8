"""Hold the symbols whose forecast rises most, and change at most one name a week.

Each week, at the close of the first session on which any symbol traded, symbols are ranked by
their mean forecast return over the horizon. A name that fell out of the top `k` is sold, the worst
first and at most `n_drop` of them; free places go to the best names not held. Everything held is
brought back to equal weight. Orders fill at the next session's open.
"""

from sandbox import Strategy


class TopK(Strategy):
    params = (
        ("k", 3),  # names held
        ("n_drop", 1),  # names sold a week, at most
    )

    def next(self) -> None:
        if self.new_week():
            self.rebalance()

    def rebalance(self) -> None:
        forecasts = {data: self.signal.forecast(data) for data in self.tradable()}
        scores = {data: f.expected_return() for data, f in forecasts.items() if f is not None}
        ranked = sorted(scores, key=lambda data: scores[data], reverse=True)

        held = self.held()
        fallen = [data for data in reversed(ranked[self.p.k :]) if data in held]
        keep = [data for data in held if data not in fallen[: self.p.n_drop]]
        new = [data for data in ranked if data not in held][: max(0, self.p.k - len(keep))]
        self.order_target_weights(dict.fromkeys(keep + new, 1 / self.p.k))
