"""Live candles, an account that survives, a terminal."""
