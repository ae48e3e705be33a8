"""Buy every symbol in equal parts and hold: what no forecast at all would earn.

`symbol` holds that one instead. A symbol that begins to trade later, or one whose data end, is a
reason to split the portfolio equally once more, and so is one that joins its universe or leaves it;
nothing else is. It pays the same costs as any other strategy.
"""

from sandbox import CandleFeed, Strategy


class BuyAndHold(Strategy):
    params = (("symbol", None),)  # such as AAPL; None: the whole universe

    def __init__(self) -> None:
        chosen = [self.getdatabyname(self.p.symbol)] if self.p.symbol else self.datas
        self.unlisted: set[CandleFeed] = set(chosen)
        self.universe: list[CandleFeed] = []

    def next(self) -> None:
        self.unlisted |= {data for data in self.universe if not data.is_member}
        begun = [data for data in self.tradable() if data in self.unlisted] if self.unlisted else []
        universe = [d for d in self.universe if d.is_member and not d.ended] + begun
        if universe != self.universe:
            self.unlisted -= set(begun)
            self.universe = universe
            self.order_target_weights(dict.fromkeys(universe, 1 / max(1, len(universe))))
