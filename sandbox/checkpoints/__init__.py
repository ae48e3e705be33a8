"""From candles to weights and a card."""
