"""Forecasts, fine-tuning and walk-forward over the machines and GPUs of a Ray cluster."""
