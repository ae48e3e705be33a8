"""All markets end while a slow reader has more bars to take than wait for it at once."""

import time

import feeds
from feeds.ccxt import After, open_feed
from feeds.ccxt.outbox import MOST_BARS
from feeds.errors import FeedEnded
from sandbox.replay.serve import serving


def test_every_bar_is_handed_out_to_a_reader_that_comes_late():
    candles = feeds.load("sample:AAPL", start="2018-01-01", end="2021-12-31")
    with serving(candles) as served, open_feed(f"replay:{served.port}") as feed:
        start = feed.warmup(30)
        last = {name: rows[-1] for name, rows in start.candles.items()}
        with feed.live(After(start.frontier_ns, last)) as live:
            ends = time.monotonic() + 60
            while not served.ended:
                assert time.monotonic() < ends
                time.sleep(0.05)
            time.sleep(3.0)  # the feed knows of the end, and waits for its reader
            bars = []
            while True:
                try:
                    bar = live.next(timeout=20)
                except FeedEnded:
                    break
                assert bar is not None, f"nothing after {len(bars)} bars"
                bars.append(bar.time_ns)
    expected = feeds.times_ns(candles["AAPL"])
    assert bars == expected[expected > start.frontier_ns].tolist()
    assert len(bars) > MOST_BARS
