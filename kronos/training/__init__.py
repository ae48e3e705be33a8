"""Training of the tokenizer and of the forecaster.

In the order in which they are read:

- `dataset`      windows of candles, and the batches that they are trained in
- `objectives`   the losses
- `schedule`     settings of a stage, and the rate of every step
- `steps`        one optimiser step, and the validation loss
- `fit`          epochs, validation, early stopping, resumable progress
"""
