"""What the predictor refuses and in which words, what it warns of, and what odd series mean."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kronos import InputError, KronosPredictor, KronosTokenizer, time_stamps
from tests.kronos.conftest import Golden, load_golden

CONTEXT = 40
BARS = 12
STEPS = 3
GREEDY: dict[str, Any] = {"top_k": 1, "top_p": 1.0}


@dataclass(frozen=True)
class Call:
    """Arguments that work; a test changes what it is about."""

    predictor: KronosPredictor
    df: Any
    x: Any
    y: Any
    steps: Any = STEPS

    def predict(self, **more: Any) -> pd.DataFrame:
        options = {"top_p": 1.0, "verbose": False, "seed": 0} | more
        return self.predictor.predict(self.df, self.x, self.y, self.steps, **options)

    def paths(self, **more: Any) -> np.ndarray:
        options = {"sample_count": 5} | more
        (forecast,) = self.predictor.paths(self.df, self.x, self.y, self.steps, **options)
        return forecast.paths

    def changed(self, column: str, row: int, value: float) -> Call:
        df = self.df.astype(float)
        df.iloc[row, df.columns.get_loc(column)] = value
        return replace(self, df=df)


@pytest.fixture(scope="module")
def golden_tiny() -> Golden:
    return load_golden("tiny")


@pytest.fixture(scope="module")
def call(golden_tiny: Golden) -> Call:
    times = pd.Series(pd.date_range("2024-01-02", periods=BARS + STEPS, freq="D"))
    frame = golden_tiny.frames[0].iloc[:BARS]
    return Call(golden_tiny.predictor(), frame, times[:BARS], times[BARS:])


def refuses(call: Call, text: str, **more: Any) -> None:
    with pytest.raises(InputError, match=re.escape(text)) as caught:
        call.predict(**more)
    assert "\n" not in str(caught.value)


def test_the_call_works_as_it_is(call: Call) -> None:
    got = call.predict()
    assert got.shape == (STEPS, 6)
    assert call.paths().shape == (5, STEPS, 6)


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_a_price_column_is_missing(call: Call, column: str) -> None:
    text = f"price columns ['{column}'] not found in DataFrame; it has ['"
    refuses(replace(call, df=call.df.drop(columns=column)), text)


def test_a_column_is_there_twice(call: Call) -> None:
    twice = pd.concat([call.df, call.df[["close"]]], axis=1)
    refuses(replace(call, df=twice), "a column is there twice; it has ['open',")


@pytest.mark.parametrize("column", ["open", "close", "volume", "amount"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_is_not_finite(call: Call, column: str, value: float) -> None:
    text = f"input DataFrame contains NaN or infinite values: {column} is {value} at row 7 (7); "
    refuses(call.changed(column, 7, value), text + "drop or fill it")


def test_a_value_is_too_large(call: Call) -> None:
    refuses(call.changed("volume", 3, 1e18), "1e+18 is too large; values may be up to 1e+17")
    assert np.isfinite(call.changed("amount", 3, 1e17).predict().to_numpy()).all()


def test_a_column_is_text(call: Call) -> None:
    refuses(replace(call, df=call.df.assign(open="ten")), "columns must be numbers: could not ")


@pytest.mark.parametrize("frame", [[[1.0] * 6], np.ones((BARS, 6)), None])
def test_candles_are_not_a_frame(call: Call, frame: object) -> None:
    text = f"input must be a pandas DataFrame, got {type(frame).__name__}"
    refuses(replace(call, df=frame), text)


def test_a_frame_has_no_rows(call: Call) -> None:
    text = "the frame has no rows; at least 1 bar is needed"
    refuses(replace(call, df=call.df.iloc[:0], x=call.x[:0]), text)


def test_rows_and_times_differ_in_number(call: Call) -> None:
    text = "inconsistent lengths: 12 rows but 11 times in x_timestamp"
    refuses(replace(call, x=call.x[1:]), text)


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_times_to_forecast(call: Call, count: int) -> None:
    text = f"y_timestamp length should equal pred_len=3, got {count}"
    refuses(replace(call, y=call.y[:count]), text)


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        (["2024-01-02"] * BARS, "list"),
        (pd.Series(range(BARS)), "Series of int64"),
        (pd.RangeIndex(BARS), "RangeIndex of int64"),
        (pd.Series(["2024-01-02"] * BARS, dtype=object), "Series of object"),
    ],
)
@pytest.mark.parametrize("side", ["x", "y"])
def test_times_are_not_datetimes(call: Call, times: object, kind: str, side: str) -> None:
    text = (
        f"{side}_timestamp must be a Series or DatetimeIndex of datetimes, got {kind}; "
        "pd.to_datetime makes one"
    )
    changed: dict[str, Any] = {side: times}
    refuses(replace(call, **changed), text)


@pytest.mark.parametrize("side", ["x", "y"])
def test_a_time_is_missing(call: Call, side: str) -> None:
    times = getattr(call, side).copy()
    times.iloc[2] = pd.NaT
    refuses(replace(call, **{side: times}), f"{side}_timestamp has a missing time at row 2")


@pytest.mark.parametrize("steps", [0, -1, 2.0, "3", True, None])
def test_pred_len_is_not_a_number_of_bars(call: Call, steps: object) -> None:
    refuses(
        replace(call, steps=steps), f"pred_len must be a whole number, 1 or more, got {steps!r}"
    )


def test_pred_len_is_beyond_the_context(call: Call) -> None:
    text = "pred_len is 41, the model sees 40 bars (max_context)"
    refuses(replace(call, steps=CONTEXT + 1), text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sample_count": 0}, "sample_count must be a whole number, 1 or more, got 0"),
        ({"sample_count": 2.5}, "sample_count must be a whole number, 1 or more, got 2.5"),
        ({"T": 0.0}, "temperature T must be a finite number above 0, got 0.0; for the most "),
        ({"T": -1.0}, "temperature T must be a finite number above 0, got -1.0; for the most "),
        ({"T": np.nan}, "temperature T must be a finite number above 0, got nan"),
        ({"T": np.inf}, "temperature T must be a finite number above 0, got inf"),
        ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0; 1 keeps every token"),
        ({"top_p": 1.01}, "top_p must be in (0, 1], got 1.01; 1 keeps every token"),
        ({"top_p": np.nan}, "top_p must be in (0, 1], got nan"),
        ({"top_k": -1}, "top_k must be a whole number, 0 (off) or more, got -1"),
        ({"top_k": 1.5}, "top_k must be a whole number, 0 (off) or more, got 1.5"),
        ({"top_k": 5.0}, "top_k must be a whole number, 0 (off) or more, got 5.0"),
    ],
)
def test_settings_that_cannot_be_used(call: Call, options: dict[str, Any], text: str) -> None:
    refuses(call, text, **options)


def test_top_k_beyond_the_vocabulary_keeps_every_token(call: Call) -> None:
    np.testing.assert_array_equal(call.paths(top_k=10_000), call.paths())


def test_lists_of_a_batch(call: Call) -> None:
    batch = call.predictor.predict_batch
    one = "df_list, x_timestamp_list, y_timestamp_list must be list or tuple types"
    with pytest.raises(InputError, match=one):
        batch(call.df, [call.x], [call.y], STEPS)
    with pytest.raises(InputError, match=r"must have consistent lengths, got 2, 1, 2"):
        batch([call.df] * 2, [call.x], [call.y] * 2, STEPS)
    short = call.df.iloc[:5]
    with pytest.raises(InputError, match="series 1: inconsistent lengths: 5 rows but 12 times"):
        batch([call.df, short], [call.x] * 2, [call.y] * 2, STEPS)
    assert batch([], [], [], STEPS, verbose=False) == []


@pytest.mark.parametrize(
    ("symbols", "count"), [([], 0), (["A"], 1), (["A", "B", "C"], 3), ("AB", 1)]
)
def test_symbols_are_not_one_a_series(call: Call, symbols: list[str] | str, count: int) -> None:
    with pytest.raises(InputError, match=rf"2 series but {count} symbols"):
        call.predictor.paths(
            [call.df] * 2, [call.x] * 2, [call.y] * 2, STEPS, symbols=symbols, sample_count=1
        )


def test_one_frame_takes_one_symbol(call: Call) -> None:
    one, listed = (
        call.predictor.paths(call.df, call.x, call.y, STEPS, symbols=symbols, sample_count=2)[0]
        for symbols in ("ABC", ["ABC"])
    )
    assert one.symbol == listed.symbol == "ABC"
    np.testing.assert_array_equal(one.paths, listed.paths)


def test_both_top_k_and_top_p_warn_and_top_k_counts(call: Call) -> None:
    with pytest.warns(UserWarning, match=r"top_k=2 is used and top_p=0\.5 ignored, as in the pub"):
        both = call.paths(top_k=2, top_p=0.5)
    np.testing.assert_array_equal(both, call.paths(top_k=2))


@pytest.mark.parametrize("method", ["predict", "predict_batch", "paths"])
@pytest.mark.parametrize("context", [CONTEXT, BARS - 1])
def test_a_warning_names_the_line_that_called(
    golden_tiny: Golden, call: Call, method: str, context: int
) -> None:
    predictor = golden_tiny.predictor(max_context=context)
    args = call.df, call.x, call.y
    listed = args if method == "predict" else [[arg] for arg in args]
    options: dict[str, Any] = {"top_k": 2, "top_p": 0.5} if context == CONTEXT else {"top_k": 1}
    options |= {"top_p": 1.0} if context < CONTEXT else {}
    with pytest.warns(UserWarning) as caught:
        getattr(predictor, method)(*listed, STEPS, verbose=False, seed=0, **options)
    assert [warning.filename for warning in caught] == [__file__]


@torch.no_grad()
def by_definition(golden: Golden, call: Call, context: int) -> np.ndarray:
    """The greedy forecast, without caches: normalise and encode all bars, see the last ones."""
    values = call.df.to_numpy(dtype=np.float32)
    mean, scale = values.mean(0), values.std(0) + 1e-5
    x = torch.from_numpy(np.clip((values - mean) / scale, -5, 5)).unsqueeze(0)
    s1, s2 = golden.tokenizer.encode(x, half=True)
    times = pd.DatetimeIndex(pd.concat([call.x, call.y]))
    stamp = torch.from_numpy(time_stamps(times)).unsqueeze(0)
    for end in range(len(values), len(times)):
        seen = slice(max(0, end - context), end)
        logits, states = golden.model.decode_s1(s1[:, seen], s2[:, seen], stamp[:, seen])
        s1 = torch.cat([s1, logits[:, -1:].argmax(-1)], 1)
        s2_logits = golden.model.decode_s2(states, s1[:, -1:])[:, -1:]
        s2 = torch.cat([s2, s2_logits.argmax(-1)], 1)
    out = golden.tokenizer.decode((s1[:, -context:], s2[:, -context:]), half=True)
    forecast: np.ndarray = out[0, -call.steps :].numpy() * scale + mean
    return forecast


def test_a_history_beyond_the_context_is_normalised_whole_and_then_cut(
    golden_tiny: Golden,
) -> None:
    rows = golden_tiny.case["lookback"]
    small = golden_tiny.predictor(max_context=16)
    times = golden_tiny.times
    frame = golden_tiny.frames[0].iloc[:rows]
    long = Call(small, frame, times[:rows], times[rows : rows + STEPS])
    with pytest.warns(
        UserWarning, match=r"the model sees the last 16 of 40 bars \(max_context\); "
    ):
        whole = long.predict(**GREEDY)
    np.testing.assert_allclose(whole.to_numpy(), by_definition(golden_tiny, long, 16), rtol=1e-5)
    cut = replace(long, df=frame.iloc[-16:], x=times[rows - 16 : rows]).predict(**GREEDY)
    assert not np.allclose(whole, cut, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0004, 1.0, 123.456, 60_000.1])
def test_a_constant_series_stays_where_it_is(call: Call, value: float) -> None:
    """Every sample within 1e-4, or where fp32 is coarser than that, within 1e-6 of the value."""
    df = call.df.assign(**dict.fromkeys(["open", "high", "low", "close"], value))
    paths = replace(call, df=df).paths(sample_count=20)
    np.testing.assert_allclose(paths[..., :4], value, rtol=1e-6, atol=1e-4)


def test_one_bar_is_a_constant_series(call: Call) -> None:
    one = replace(call, df=call.df.iloc[-1:], x=call.x[-1:])
    paths, last = one.paths(), call.df.iloc[-1].to_numpy()
    assert paths.shape == (5, STEPS, 6)
    np.testing.assert_allclose(paths, np.broadcast_to(last, paths.shape), rtol=1e-6, atol=1e-4)


def test_volume_missing_means_no_volume_and_no_amount(call: Call) -> None:
    nothing = call.df.assign(volume=0.0, amount=0.0)
    want = replace(call, df=nothing).predict()
    for columns in (["volume"], ["volume", "amount"]):
        got = replace(call, df=call.df.drop(columns=columns)).predict()
        pd.testing.assert_frame_equal(got, want)
    unread = replace(call, df=call.df.drop(columns="volume").assign(amount=np.nan))
    pd.testing.assert_frame_equal(unread.predict(), want)


def test_amount_missing_means_volume_times_the_mean_price(call: Call) -> None:
    prices = call.df[["open", "high", "low", "close"]]
    given = call.df.assign(amount=call.df["volume"] * prices.mean(axis=1))
    want = replace(call, df=given).predict()
    got = replace(call, df=call.df.drop(columns="amount")).predict()
    pd.testing.assert_frame_equal(got, want)


def test_the_callers_frame_is_left_alone(call: Call) -> None:
    df = call.df.drop(columns="amount")
    before = df.copy()
    replace(call, df=df).predict()
    pd.testing.assert_frame_equal(df, before)


def test_model_and_tokenizer_that_do_not_go_together(golden_tiny: Golden) -> None:
    config = {
        "d_in": 6, "d_model": 32, "n_heads": 4, "ff_dim": 64, "n_enc_layers": 2,
        "n_dec_layers": 2, "ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0,
        "s1_bits": 4, "s2_bits": 6, "beta": 0.05, "gamma0": 1.0, "gamma": 1.1, "zeta": 0.05,
        "group_size": 5,
    }  # fmt: skip
    text = "model and tokenizer do not go together: the model has 5+5 bits, the tokenizer 4+6"
    with pytest.raises(InputError, match=re.escape(text)):
        KronosPredictor(golden_tiny.model, KronosTokenizer(**config), "cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, got 'float16'"),
        ({"max_context": 0}, "max_context must be a whole number, 1 or more, got 0"),
        ({"clip": 0}, "clip must be above 0, got 0"),
        ({"clip": np.nan}, "clip must be above 0, got nan"),
    ],
)
def test_a_predictor_that_cannot_be(
    golden_tiny: Golden, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        golden_tiny.predictor(**options)


def arrays(**more: np.ndarray) -> dict[str, Any]:
    """Arguments of `sample_paths`: 2 series of 4 bars, 3 bars ahead."""
    stamps = np.ones((2, 7, 5), dtype=np.int64)
    good = {"x": np.ones((2, 4, 6)), "x_stamp": stamps[:, :4], "y_stamp": stamps[:, 4:]}
    return good | more


TOGETHER = r"do not go together; they must be \[B, L, 6\], \[B, L, 5\], \[B, P, 5\] and B"


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"x": np.ones((4, 6))}, r"x must be \[B, L, 6\], got \[4, 6\]"),
        ({"x": np.ones((2, 4, 5))}, r"x must be \[B, L, 6\], got \[2, 4, 5\]"),
        ({"x": np.ones((2, 0, 6))}, r"x must be \[B, L, 6\], got \[2, 0, 6\]"),
        ({"x": np.ones((3, 4, 6))}, r"x \[3, 4, 6\], x_stamp \[2, 4, 5\], .* " + TOGETHER),
        ({"x_stamp": np.ones((2, 5, 5))}, TOGETHER),
        ({"y_stamp": np.ones((2, 3, 4))}, TOGETHER),
        ({"y_stamp": np.ones((2, 5))}, r"y_stamp \[2, 5\] and 2 keys " + TOGETHER),
        ({"y_stamp": np.ones((2, 0, 5))}, "pred_len must be a whole number, 1 or more, got 0"),
        ({"y_stamp": np.ones((2, 41, 5))}, "pred_len is 41, the model sees 40 bars"),
        ({"x": np.full((2, 4, 6), np.nan)}, "x has NaN or infinite values, first in series 0"),
        ({"x": np.full((2, 4, 6), 1e20)}, r"x has 1e\+20; values may be up to 1e\+17"),
    ],
)
def test_arrays_of_a_wrong_shape(call: Call, bad: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(InputError, match=text):
        call.predictor.sample_paths(**arrays(**bad), keys=[1, 2])


def test_as_many_keys_as_series(call: Call) -> None:
    with pytest.raises(InputError, match="and 1 keys " + TOGETHER):
        call.predictor.sample_paths(**arrays(), keys=[1])


def test_no_series_at_all(call: Call) -> None:
    none = {name: array[:0] for name, array in arrays().items()}
    assert call.predictor.sample_paths(**none, keys=[]).shape == (0, 1, 3, 6)


@pytest.fixture(autouse=True)
def nothing_is_warned_of_unasked() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
