"""Forecasts kept on disk."""
