"""Training of the tokenizer and of the forecaster.

In the order in which they are read:

- `dataset`      windows of candles, and the batches that they are trained in
- `objectives`   the losses
- `fit`          optimiser steps, validation, early stopping, resumable progress
"""
