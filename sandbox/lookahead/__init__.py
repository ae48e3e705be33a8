"""The proof that a strategy does not look ahead: altered candles, reruns, comparison."""
