"""Forecasts scored against what came."""
