"""What a strategy reads from elsewhere is seen in the proof, and is not clean."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sandbox.lookahead.__main__ import lines, main
from sandbox.run.reads import LOADING, Touch, data_files, judged, watched
from tests.conftest import make_market
from tests.sandbox.lookahead.lookahead_cases import BARS, FIRST, proved

HEAD = """
import os, sys
from pathlib import Path
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
from sandbox import Strategy

AWAY = Path({away!r})
OWN = Path(__file__).parent
"""
READS = {
    "open": ("open(AWAY / 'c.csv').read()", "opened {away}/c.csv"),
    "os.open": ("os.close(os.open(AWAY / 'c.csv', os.O_RDONLY))", "opened {away}/c.csv"),
    "read_csv": ("pd.read_csv(AWAY / 'c.csv')", "opened {away}/c.csv"),
    "read_parquet": ("pd.read_parquet(AWAY / 'c.parquet')", "opened {away}/c.parquet"),
    "parquet table": ("pq.read_table(AWAY / 'c.parquet')", "opened {away}/c.parquet"),
    "parquet file": ("pq.ParquetFile(AWAY / 'c.parquet').read()", "opened {away}/c.parquet"),
    "memory map": ("pa.memory_map(str(AWAY / 'c.parquet')).read()", "opened {away}/c.parquet"),
    "arrow dataset": (
        "pyarrow.dataset.dataset(AWAY / 'c.parquet').to_table()",
        "opened {away}/c.parquet",
    ),
    "arrow csv": ("pyarrow.csv.read_csv(str(AWAY / 'c.csv'))", "read "),
    "arrow file": ("pa.OSFile(str(AWAY / 'c.parquet')).read()", "read "),
    "memmap": ("np.memmap(AWAY / 'c.bin')", "opened {away}/c.bin"),
    "fromfile": ("np.fromfile(AWAY / 'c.bin')", "opened {away}/c.bin"),
    "np.load": ("np.load(AWAY / 'c.npy')", "opened {away}/c.npy"),
    "sqlite": ("__import__('sqlite3').connect(AWAY / 'c.db').close()", "opened {away}/c.db"),
    "listdir": ("os.listdir(AWAY)", "listed {away}"),
    "scandir": ("list(os.scandir(AWAY))", "listed {away}"),
    "glob": ("list(AWAY.glob('*.csv'))", "listed {away}"),
    "memory": ("open('/proc/self/mem', 'rb').close()", "opened /proc/"),
    "parent": ("open(f'/proc/{os.getppid()}/cmdline', 'rb').read()", "opened /proc/"),
    "process": (
        "__import__('subprocess').run(['cat', AWAY / 'c.csv'], capture_output=True)",
        "started a process cat {away}/c.csv",
    ),
    "system": ("os.system('true')", "started a process "),
    "library": ("__import__('ctypes').CDLL(None)", "loaded the C library "),
    "socket": (
        "__import__('socket').socket().connect_ex(('127.0.0.1', 9))",
        "connected to ('127.0.0.1', 9)",
    ),
    "link": ("open(OWN / 'link.csv').read()", "opened {away}/c.csv"),
    "writes": ("open(AWAY / 'mark', 'w').close()", "opened {away}/mark"),
    "folder": ("(AWAY / 'marked').mkdir(exist_ok=True)", "changed {away}/marked"),
    "thread": (
        "(t := __import__('threading').Thread(target=open, args=(AWAY / 'c.csv',)), "
        "t.start(), t.join())",
        "opened {away}/c.csv",
    ),
    "sample": (
        "__import__('feeds').load('sample:AAPL')",
        "opened {root}/feeds/sample/us_daily.parquet",
    ),
    "loader": (
        "__import__('importlib').machinery.SourceFileLoader('x', '').get_data(str(AWAY / 'c.csv'))",
        "opened {away}/c.csv",
    ),
}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def frames():
    return make_market("A", BARS)


@pytest.fixture(scope="module")
def away(tmp_path_factory, frames):
    """Candles in files of some kinds."""
    folder = tmp_path_factory.mktemp("away")
    candles = frames["A"].reset_index(names="time")
    candles.to_csv(folder / "c.csv")
    candles.to_parquet(folder / "c.parquet")
    np.arange(1000.0).tofile(folder / "c.bin")
    np.save(folder / "c.npy", np.arange(1000.0))
    sqlite3.connect(folder / "c.db").close()
    return folder


@pytest.fixture
def own(tmp_path, away):
    """A folder with a strategy that buys one a bar, and from its fifth bar on also does a thing."""
    (tmp_path / "link.csv").symlink_to(away / "c.csv")

    def written(act="pass", head=""):
        path = tmp_path / "reader.py"
        path.write_text(
            HEAD.format(away=str(away)) + head + "\nclass Reader(Strategy):\n    bars = 0\n"
            "    def next(self):\n        self.bars += 1\n        self.buy(size=1)\n"
            f"        if self.bars >= 5:\n            {act}\n"
        )
        return path

    return written


@pytest.mark.parametrize("kind", READS)
def test_a_read_is_named_with_its_first_bar_and_is_not_clean(frames, away, own, kind):
    act, words = READS[kind]
    proof = proved(own(act), frames, cuts=1)
    assert not proof.differences
    assert not proof.clean
    seen = proof.reached[0]
    assert seen.touch.words().startswith(words.format(away=away, root=ROOT)), seen
    assert seen.bar == frames["A"].index[FIRST + 4]
    shown = lines("reader", proof, *frames["A"].index[[FIRST, -1]])
    assert shown[0].startswith("reader: NOT clean. ")
    what = f"it {seen.touch.words()} at {seen.bar:%Y-%m-%d %H:%M}"
    assert shown[1] == f"  It goes outside, where nothing is altered: {what}"


def test_a_read_while_the_file_is_loaded_is_seen(frames, away, own):
    proof = proved(own(head="CANDLES = (AWAY / 'c.csv').read_text()"), frames, cuts=1)
    assert [(seen.touch.target, seen.bar) for seen in proof.reached] == [
        (str(away / "c.csv"), None)
    ]
    assert not proof.clean


@pytest.mark.parametrize("where", ["__init__", "start", "stop", "notify_order"])
def test_a_read_anywhere_in_the_strategy_is_seen(frames, away, own, where):
    path = own()
    given = {"notify_order": ", order"}.get(where, "")
    path.write_text(
        path.read_text() + f"    def {where}(self{given}):\n        open(AWAY / 'c.csv').close()\n"
    )
    assert [seen.touch.target for seen in proved(path, frames, cuts=1).reached] == [
        str(away / "c.csv")
    ]


HONEST = {
    "pandas": "pd.Timestamp('2020-01-01', tz='Asia/Manila'), pd.DataFrame({'a': ['x']}).describe()",
    "lazy modules": "__import__('xml.dom.minidom'), __import__('scipy.stats')",
    "random": "os.urandom(8), np.random.default_rng().normal()",
    "own module": "__import__('helper')",
    "print": "print('bought')",
    "memory database": "__import__('sqlite3').connect(':memory:').close()",
    "time": "__import__('time').localtime(), __import__('datetime').datetime.now()",
}


@pytest.mark.parametrize("kind", HONEST)
def test_libraries_and_the_system_s_own_files_are_no_reads(frames, own, kind):
    path = own(HONEST[kind], head="sys.path.insert(0, str(OWN))")
    (path.parent / "helper.py").write_text("X = 1\n")
    proof = proved(path, frames, cuts=1)
    assert proof.clean, (proof.reached, proof.differences)
    assert not proof.noted


def test_other_files_in_its_own_folder_are_a_note(frames, own):
    path = own("open(OWN / 'params.json').read()")
    (path.parent / "params.json").write_text("{}")
    proof = proved(path, frames, cuts=1)
    assert proof.clean
    shown = lines("reader", proof, *frames["A"].index[[FIRST, -1]])
    at = f"{frames['A'].index[FIRST + 4]:%Y-%m-%d %H:%M}"
    assert shown[1:] == [f"  Note: it opened {path.parent / 'params.json'} at {at}"]


def test_the_run_s_own_candles_are_no_note(frames, own):
    path = own("open(OWN / 'c.csv').read()")
    (path.parent / "c.csv").write_text("")
    data = data_files(f"csv:{path.parent}/*.csv")
    proof = proved(path, frames, cuts=1, data=data)
    assert not proof.clean
    assert proof.reached[0].touch.target == str(path.parent / "c.csv")


def test_where_the_candles_of_a_spec_are(tmp_path):
    shipped = f"{ROOT}/feeds/sample/"
    (tmp_path / "one.csv").touch()
    (tmp_path / "two.csv").touch()
    (tmp_path / "qlib").mkdir()
    assert data_files("sample:ph") == data_files("sample") == (shipped,)
    assert data_files(f"csv:{tmp_path}/one.csv") == (shipped, f"{tmp_path}/one.csv")
    assert set(data_files(f"csv:{tmp_path}/*.csv")) == {
        shipped, f"{tmp_path}/one.csv", f"{tmp_path}/two.csv",
    }  # fmt: skip
    assert data_files(f"qlib:{tmp_path}/qlib?freq=day") == (shipped, f"{tmp_path}/qlib/")
    assert data_files(f"parquet:{tmp_path}") == (shipped, f"{tmp_path}/")


def test_what_is_outside_and_what_is_a_note(tmp_path):
    touches = [
        Touch("opened", f"{tmp_path}/a.json", 0), Touch("opened", f"{tmp_path}/c.csv", 0),
        Touch("opened", f"{tmp_path}/sub/a.py", 0), Touch("opened", f"{tmp_path}x/a.json", 0),
        Touch("imported", "/elsewhere/b.py", LOADING), Touch("read", "3 bytes", 0),
        Touch("listed", str(tmp_path), 0), Touch("opened", "/store/x", 0),
    ]  # fmt: skip
    outside, notes = judged(touches, tmp_path, [f"{tmp_path}/c.csv", "/store/"])
    assert [touches.index(touch) for touch in outside] == [1, 3, 5, 7]
    assert [touches.index(touch) for touch in notes] == [0, 4, 6]


def test_only_what_happens_in_the_block_is_seen(away):
    with watched() as reads:
        reads.begin()
        (away / "c.csv").read_text()
        pd.read_parquet(away / "c.parquet")
        reads.bar_closed(1)
    (away / "c.bin").read_bytes()
    pd.read_parquet(away / "c.parquet")
    assert [(touch.target, touch.bars_done) for touch in reads.touches] == [
        (str(away / "c.csv"), 0), (str(away / "c.parquet"), 0),
    ]  # fmt: skip


# The command


SHORT = [
    "--data", "sample:AAPL,NVDA", "--start", "2021-01-04", "--end", "2021-02-26",
    "--signal", "momentum", "--lookback", "20", "--cuts", "1",
]  # fmt: skip


def test_the_command_fails_on_a_strategy_that_loads_the_candles(tmp_path, capfd):
    (tmp_path / "knows.py").write_text("""
from feeds import load
from sandbox import Strategy

class Knows(Strategy):
    def next(self):
        for data in self.tradable():
            closes = load(f"sample:{data.symbol}")[data.symbol]["close"]
            ahead = closes.to_numpy()[closes.index.searchsorted(self.now, side="right")]
            self.order_target_percent(data, 0.4 if ahead > data.close[0] else 0.0)
""")
    assert main([str(tmp_path / "knows.py"), *SHORT]) == 1
    shown = capfd.readouterr().out.splitlines()
    assert shown[0].startswith("knows: NOT clean. ")
    assert shown[1] == (
        "  It goes outside, where nothing is altered: it opened "
        f"{ROOT}/feeds/sample/us_daily.parquet at 2021-01-04 21:00"
    )


def test_the_command_fails_on_a_strategy_that_reads_the_store(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(ROOT / "feeds" / "sample" / "us_daily.parquet", store / "part.parquet")
    (tmp_path / "stored.py").write_text("""
import pandas as pd
from sandbox import Strategy

class Stored(Strategy):
    def next(self):
        pd.read_parquet("store/part.parquet")
        self.buy(size=1)
""")
    assert main(["stored.py", *SHORT]) == 1
    assert f"it opened {store}/part.parquet at 2021-01-04 21:00" in capfd.readouterr().out


def test_a_mark_that_is_left_when_the_file_is_loaded_is_seen(tmp_path, capfd):
    mark = tmp_path / "elsewhere" / "mark"
    mark.parent.mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "marks.py").write_text(f"""
import sys
from pathlib import Path
from sandbox import Strategy

if "sandbox.lookahead" in sys.modules:
    Path({str(mark)!r}).touch()

class Marks(Strategy):
    def next(self):
        frame = sys._getframe()
        while type(source := frame.f_locals.get("source")).__name__ != "FrameSource":
            frame = frame.f_back
        ahead = source.handed_out[self.data.symbol]["close"].to_numpy()[len(self.data) :]
        if not Path({str(mark)!r}).exists() and (ahead[:1] > self.data.close[0]).any():
            self.buy(size=1)
        self.sell(size=1)
""")
    assert main([str(tmp_path / "own" / "marks.py"), *SHORT]) == 1
    assert "while it was loaded" in capfd.readouterr().out
