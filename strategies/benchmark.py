"""Buy every symbol of the universe in equal parts and hold: what no forecast at all would earn.

A symbol that begins to trade later is a reason to split the portfolio equally once more; nothing
else is. It pays the same costs as any other strategy.
"""

import backtrader as bt

from sandbox import Strategy


class EqualWeightHold(Strategy):
    def __init__(self) -> None:
        self.universe: list[bt.feed.DataBase] = []

    def next(self) -> None:
        listed = [data for data in self.tradable() if data not in self.universe]
        if listed:
            self.universe += listed
            share = 1 / len(self.universe)
            self.order_target_weights(dict.fromkeys(self.universe, share))
