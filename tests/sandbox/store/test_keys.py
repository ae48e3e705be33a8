"""Keys as numbers are the keys that parts have as text, and are found where they stand."""

import numpy as np
import pytest

from sandbox.store.keys import KeyPlaces, key_texts, keys_from_bytes, keys_from_texts


def random_keys(count, seed=0):
    return keys_from_bytes(np.random.default_rng(seed).bytes(16 * count))


def test_texts_and_back():
    keys = random_keys(50)
    texts = key_texts(keys)
    assert texts[3] == keys[3].tobytes().hex() and len(texts) == 50
    assert np.array_equal(keys_from_texts(texts), keys)
    assert key_texts(keys[::7]) == texts[::7]
    assert key_texts(keys[:0]) == [] and keys_from_texts([]).shape == (0, 2)


@pytest.mark.parametrize("texts", [["a" * 31], ["a" * 30, "a" * 34], ["g" * 32], [" " * 32]])
def test_other_texts_are_no_keys(texts):
    with pytest.raises(ValueError):
        keys_from_texts(texts)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_places_are_those_of_a_mapping(count):
    keys, others = random_keys(count), random_keys(300, seed=1)
    asked = np.concatenate([others, keys[::3]])[np.random.default_rng(2).permutation(300)]
    place_of = {text: place for place, text in enumerate(key_texts(keys))}
    wanted = [
        (row, place_of[text]) for row, text in enumerate(key_texts(asked)) if text in place_of
    ]
    rows, places = KeyPlaces(keys).of(asked)
    assert list(zip(rows.tolist(), places.tolist(), strict=True)) == wanted


def test_one_half_in_common_is_not_the_same_key():
    keys = random_keys(4)
    for half in (0, 1):
        asked = random_keys(4, seed=1).copy()
        asked[:, half] = keys[:, half]
        assert not len(KeyPlaces(keys).of(asked)[0])
