"""Candles served as an exchange: Binance's public API and kline stream on this machine alone."""
