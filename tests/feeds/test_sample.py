"""The shipped samples are what their README says, and what their sources give."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import feeds
from feeds import SourceError
from feeds.sample import FOLDER, build

US_SYMBOLS = ("AAPL", "AMZN", "AVGO", "GOOGL", "JPM", "META", "MSFT", "NVDA", "TSLA", "XOM")
DOWNLOAD_SECS = 60.0


@pytest.fixture(scope="module")
def us() -> feeds.Candles:
    return feeds.load("sample")


@pytest.fixture(scope="module")
def ph() -> feeds.Candles:
    return feeds.load("sample:ph")


def rows(candles: feeds.Candles) -> int:
    return sum(len(frame) for frame in candles.frames.values())


def span(candles: feeds.Candles) -> tuple[str, str]:
    first = min(frame.index[0] for frame in candles.frames.values())
    last = max(frame.index[-1] for frame in candles.frames.values())
    return str(first), str(last)


def test_us_facts(us: feeds.Candles) -> None:
    assert us.symbols == US_SYMBOLS
    assert rows(us) == 25_160
    assert {len(frame) for frame in us.frames.values()} == {2_516}  # no gap
    assert span(us) == ("2015-01-02 21:00:00+00:00", "2024-12-31 21:00:00+00:00")
    assert (us.spec, us.costs, us.repairs, us.absent) == ("sample", "us", (), ())
    assert us.note is not None and "chosen after the fact" in us.note
    assert us.calendar == us.pick(["AAPL"]).calendar == "XNYS"


def test_us_moves_over_a_fifth_are_the_nine_known(us: feeds.Candles) -> None:
    moves = [frame["close"].pct_change().abs() > 0.2 for frame in us.frames.values()]
    assert sum(int(big.sum()) for big in moves) == 9


def test_us_amount_is_volume_times_the_mean_price(us: feeds.Candles) -> None:
    frame = us["XOM"]
    mean = (frame["open"] + frame["high"] + frame["low"] + frame["close"]) / 4
    np.testing.assert_allclose(frame["amount"], frame["volume"] * mean, rtol=1e-14)


def test_ph_facts(ph: feeds.Candles) -> None:
    assert len(ph) == 72
    assert rows(ph) == 145_074
    assert span(ph) == ("2013-01-02 07:30:00+00:00", "2021-12-15 07:30:00+00:00")
    assert (ph.spec, ph.costs, ph.repairs, ph.absent) == ("sample:ph", "ph", (), ())
    assert ph.note is not None and "inferred from overnight gaps" in ph.note
    assert ph.calendar == "XPHS"
    begins = {"COSCO": "2013-06-03", "MAXS": "2014-09-01"}
    assert all(ph[symbol].index[0] >= pd.Timestamp(day, tz="UTC") for symbol, day in begins.items())


def test_ph_amount_is_the_traded_value(ph: feeds.Candles) -> None:
    frame = ph["BDO"]
    np.testing.assert_allclose(frame["volume"] * frame["close"], frame["amount"], rtol=1e-3)


def test_ph_keeps_its_bad_tick(ph: feeds.Candles) -> None:
    moves = ph["CEB"]["close"].pct_change()["2019-07-09":"2019-07-10"]
    assert moves.abs().max() > 0.2


@pytest.mark.parametrize("spec", ["sample", "sample:ph"])
def test_samples_pass_the_contract(spec: str) -> None:
    candles = feeds.load(spec)
    for symbol, frame in candles.frames.items():
        feeds.validate(frame, symbol)
        assert not frame.isna().to_numpy().any()
        _, said = feeds.repair(frame, symbol)
        assert said == ()


@pytest.mark.parametrize(
    ("spec", "zone", "clock"),
    [("sample", "America/New_York", "16:00"), ("sample:ph", "Asia/Manila", "15:30")],
)
def test_a_bar_is_stamped_with_its_close(spec: str, zone: str, clock: str) -> None:
    candles = feeds.load(spec)
    stored = pd.read_parquet(FOLDER / ("ph_daily.parquet" if "ph" in spec else "us_daily.parquet"))
    for symbol, frame in candles.frames.items():
        index = pd.DatetimeIndex(frame.index)
        assert set(index.tz_convert(zone).strftime("%H:%M")) == {clock}
        sessions = stored.loc[stored["symbol"] == symbol, "date"]
        assert list(index.normalize().date) == list(sessions)


def test_capital_changes_are_taken_out(ph: feeds.Candles) -> None:
    changes = build.read_changes()
    assert (len(changes), list(changes.columns)) == (17, ["date", "symbol", "factor"])
    assert set(changes["symbol"]) <= set(ph.symbols)
    for change in changes.to_dict("records"):
        frame = ph[change["symbol"]]
        dates = [f"{time:%Y-%m-%d}" for time in frame.index]
        move = frame["close"].pct_change().to_numpy()[dates.index(change["date"])]
        # Left in, the close would have fallen to about 1 / factor of the close before.
        assert move > 1 / change["factor"] - 1 + 0.1


def test_licences_and_notice_go_along() -> None:
    readme = (FOLDER / "README.md").read_text()
    for origin, holder, text in (
        (build.US, "Copyright 2024, 2025 Neural Layer", "roboquant-APACHE-2.0.txt"),
        (build.PH, "Copyright (c) 2020 Lorenzo Ampil", "fastquant-MIT.txt"),
    ):
        assert origin.sha256 in readme and origin.member in readme
        assert f"{origin.package} {origin.version}" in readme
        assert holder in readme and f"licenses/{text}" in readme
        assert holder in (FOLDER / "licenses" / text).read_text()


# --- the builder ---------------------------------------------------------------------------------


def test_a_wheel_with_other_contents_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / build.US.wheel, "w") as wheel:
        wheel.writestr(build.US.member, b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(SourceError, match=f"has SHA-256 {found}, not {build.US.sha256}; take"):
        build.read_origin(build.US, tmp_path)


def test_a_missing_wheel_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--wheels", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "give the folder of roboquant-2.0.1-py3-none-any.whl" in said


def test_an_absolute_member_is_read_in_place(tmp_path: Path) -> None:
    target = tmp_path / "escaped.csv"
    archive = tmp_path / "inner.zip"
    with zipfile.ZipFile(archive, "w") as inner:
        fields = ",".join(["A"] * 5), "open,high,low,close,value"
        inner.writestr(
            zipfile.ZipInfo(str(target)),
            f"Symbol,{fields[0]}\n,{fields[1]}\ndt,,,,,\n2013-01-02,3,2,3,3,10\n2013-01-03,3,3,3,0,1\n",
        )
    changes = pd.DataFrame({"date": ["2013-01-03"], "symbol": ["A"], "factor": [1.5]})
    table = build.ph_table(archive.read_bytes(), changes)
    assert not target.exists()
    # High widened to 3, the row with a close of 0 dropped, prices / 1.5, volume = 10 / 2.
    assert table.drop(columns=["symbol", "date"]).to_numpy().tolist() == [[2, 2, 2, 2, 5, 10]]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = build.read_changes()
    build.write(build.CHANGES, changes, tmp_path)
    target = tmp_path / build.CHANGES
    assert target.read_bytes() == (FOLDER / build.CHANGES).read_bytes()

    def broken(source: str, destination: Path) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk gone"):
        build.write(build.CHANGES, changes.iloc[:1], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [build.CHANGES]
    assert target.read_bytes() == (FOLDER / build.CHANGES).read_bytes()


def test_a_difference_is_told(tmp_path: Path) -> None:
    table = pd.read_parquet(FOLDER / "us_daily.parquet")
    build.write("us_daily.parquet", table, tmp_path)
    assert build.difference("us_daily.parquet", table, tmp_path) is None
    one_bit = table.copy()
    opens = one_bit["open"].to_numpy().copy()
    opens[0] = np.nextafter(opens[0], np.float32(np.inf))
    one_bit["open"] = opens
    said = build.difference("us_daily.parquet", one_bit, tmp_path)
    assert said is not None and said.startswith("us_daily.parquet: the file is not what its source")
    retyped = table.astype({"volume": "float64"})
    assert "dtype" in (build.difference("us_daily.parquet", retyped, tmp_path) or "")
    assert (
        build.difference("ph_daily.parquet", table, tmp_path)
        == f"ph_daily.parquet: not in {tmp_path}"
    )


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    try:
        build.fetch(folder, timeout_secs=DOWNLOAD_SECS)
    except SourceError as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    return folder


@pytest.fixture(scope="session")
def built(wheels: Path) -> dict[str, pd.DataFrame]:
    return build.build(wheels)


@pytest.mark.wheels
@pytest.mark.parametrize("name", ["us_daily.parquet", "ph_daily.parquet", build.CHANGES])
def test_the_sources_give_the_committed_files(built: dict[str, pd.DataFrame], name: str) -> None:
    assert build.difference(name, built[name]) is None


@pytest.mark.wheels
def test_check_reads_what_was_written_and_fails_on_a_change(
    wheels: Path,
    built: dict[str, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(build, "build", lambda folder: built)
    call = ["--wheels", str(wheels), "--out", str(tmp_path)]
    assert build.main(call) == 0
    assert build.main([*call, "--check"]) == 0
    assert capsys.readouterr().out.endswith("3 files hold what their sources give\n")
    changes = build.read_changes(tmp_path)
    changes.loc[0, "factor"] = 2.0
    build.write(build.CHANGES, changes, tmp_path)
    assert build.main([*call, "--check"]) == 1
    assert capsys.readouterr().out.startswith("ph_capital_changes.csv: the file is not what")
