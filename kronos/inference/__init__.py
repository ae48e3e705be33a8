"""Sample paths from a model and its tokenizer: the plain way, and the fast one.

In the order in which they are read:

- `draws`      random numbers that depend on seed, series and step alone
- `nucleus`    the tokens that top_p keeps, without a sort
- `sampling`   from logits to token ids
- `batch`      what samplers take
- `plain`      what a sample path is: the modules called one bar at a time, without caches
- `operand`    matrix products whose rows do not depend on how many there are
- `cache`      keys and values of a layer, and attention over them
- `fused`      the modules' arithmetic, rearranged for inference
- `decoding`   the state of a tile of series while its samples are drawn
- `sampler`    cuts batches into tiles, runs them, returns normalised candles
- `checksum`, `structure`, `current`   whether the fast sampler still is what the modules compute
- `compat`     the published code's functions

Importing this package imports no torch.
"""
