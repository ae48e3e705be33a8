"""Sample paths from a model and its tokenizer: the plain way, and the fast one.

In the order in which they are read:

- `draws`      random numbers that depend on seed, series and step alone
- `sampling`   from logits to token ids
- `plain`      what a sample path is: the modules called one bar at a time, without caches
- `fused`      the same arithmetic, rearranged for inference, with caches
- `decoding`   the state of a batch of series while its samples are drawn
- `sampler`    cuts batches to fit memory, runs them, returns normalised candles
- `checksum`, `structure`, `current`   whether the fast sampler still is what the modules compute
- `compat`     the published code's functions

Importing this package imports no torch.
"""
