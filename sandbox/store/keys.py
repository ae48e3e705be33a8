"""Keys of forecasts: the 16 bytes of a hash each, as two numbers, and where they stand in a list.

In a part a key is text, for people and other programs. Millions of them are kept as numbers, which
take a tenth of the memory.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DIGEST_BYTES = 16  # of a key
# Of a key among those that are looked up: itself, its first half in order, and its place.
KEY_BYTES = DIGEST_BYTES + 8 + 8


def keys_from_bytes(digests: bytes | bytearray) -> Array:
    """Hashes one behind the other as `[W, 2]` uint64."""
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def key_texts(keys: Array) -> list[str]:
    """`[W, 2]` keys as 32 hexadecimal digits each."""
    digits = 2 * DIGEST_BYTES
    text = np.ascontiguousarray(keys, dtype="<u8").tobytes().hex()
    return [text[at : at + digits] for at in range(0, len(text), digits)]


def keys_from_texts(texts: Sequence[str]) -> Array:
    """`[W, 2]` keys of their texts. Raises ValueError where one is not 32 hexadecimal digits."""
    if any(len(text) != 2 * DIGEST_BYTES for text in texts):
        raise ValueError("a key has not 32 digits")
    return keys_from_bytes(unhexlify("".join(texts)))


class KeyPlaces:
    """Where each of `[W, 2]` different keys stands."""

    def __init__(self, keys: Array) -> None:
        self._keys = keys
        self._order = np.argsort(keys[:, 0])
        self._firsts = keys[:, 0][self._order]

    def of(self, keys: Array) -> tuple[Array, Array]:
        """The rows of `[N, 2]` keys that are among them, and the place of each.

        Of keys with the same first half, which hardly ever are, one is found: a forecast that is
        not found is computed again.
        """
        if not len(self._firsts):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        nearest = np.minimum(self._firsts.searchsorted(keys[:, 0]), len(self._firsts) - 1)
        places = self._order[nearest]
        found = np.flatnonzero((self._keys[places] == keys).all(axis=1))
        return found, places[found]
