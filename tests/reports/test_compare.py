"""Several runs on one page."""

import json
import re

import pandas as pd
import pytest

from reports.compare import main
from reports.comparison import differences, read_all, warning
from tests.reports.conftest import CASH, edit_csv, entry


@pytest.fixture
def two(run_folder):
    """Two runs of the same settings but for a parameter."""
    folders = []
    for k in (3, 5):
        folder = run_folder(controls=False, benchmark=False, at=f"k{k}")
        folders.append(folder)
        change_record(
            folder, portfolios=[entry("topk", "strategy", "kronos") | {"params": {"k": k}}]
        )
    return folders


def change_record(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_differs_is_named_and_runs_of_the_same_window_are_comparable(two, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main([*map(str, two), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert re.search(r"parameters of topk *│ k 3 *│ k 5", shown.out)
    assert "Warning" not in shown.out
    assert shown.out.endswith(f"{out}\n")
    page = out.read_text(encoding="utf-8")
    assert "cannot be compared" not in page
    assert "parameters of topk" in page
    assert not re.search(r"<(link|img|iframe)\b|<script[^>]*\bsrc", page)


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"costs": {"preset": "ph", "commission_bps": 29.5}}, "costs"),
        ({"data": {"spec": "sample", "hash": "other", "symbols": []}}, "data hash"),
    ],
)
def test_other_costs_or_data_are_warned_of(two, tmp_path, capsys, changes, listed):
    change_record(two[1], **changes)
    out = tmp_path / "page.html"
    assert main([*map(str, two), "--out", str(out)]) == 0
    sentence = f"These runs differ in {listed}: their figures cannot be compared as they stand."
    assert f"Warning: {sentence}" in " ".join(capsys.readouterr().out.split())
    assert sentence in out.read_text(encoding="utf-8")


def test_another_window_is_warned_of(run_folder):
    compared = read_all([run_folder(bars=60, at="a"), run_folder(bars=50, at="b")])
    assert warning(differences(compared)).startswith("These runs differ in last bar: ")


def test_curves_start_at_one_whatever_the_cash(two):
    rich = two[1]
    edit_csv(
        rich / "equity.csv",
        lambda f: f.assign(**{c: 10 * f[c] for c in ("value", "cash", "gross_value")}),
    )
    config = json.loads((rich / "config.json").read_text())["config"]
    change_record(rich, config=config | {"cash": 10 * CASH})
    out = rich / "page.html"
    assert main([*map(str, two), "--out", str(out)]) == 0
    paths = re.findall(r'class="s[01]" d="(M[^"]{50,})"', out.read_text())
    assert len(paths) == 2
    assert paths[0] == paths[1]
    block = re.search(r'id="chart-data">(.*?)</script>', out.read_text())[1]
    [chart] = json.loads(block)["charts"]
    assert chart["series"][0]["values"] == chart["series"][1]["values"]
    assert chart["series"][0]["values"][0] == 1


def test_figures_are_those_of_metrics_json_where_it_is_and_computed_where_it_is_not(two, capsys):
    first = read_all(two)[0]
    metrics = json.loads(json.dumps(dict(first.metrics)))
    metrics["portfolios"]["topk"]["whole"]["sharpe"] = 98.76
    (two[0] / "metrics.json").write_text(json.dumps(metrics))
    (two[1] / "metrics.json").write_text("{}")
    again = read_all(two)
    assert again[0].figures("topk")["sharpe"] == 98.76
    assert again[1].figures("topk")["sharpe"] == pytest.approx(first.figures("topk")["sharpe"])


def test_names_are_escaped_and_markup_is_not_read(run_folder, tmp_path, capsys):
    folders = [run_folder(["[red]<b>x"], bars=30, at=at) for at in ("one", "two")]
    out = tmp_path / "page.html"
    assert main([*map(str, folders), "--out", str(out)]) == 0
    assert "[red]" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "<b>x" not in page
    assert "[red]&lt;b&gt;x" in page


def test_the_registry_of_tries_beside_them_is_no_run(two, tmp_path, capsys):
    registry = two[0].parent / "tries.jsonl"
    registry.write_text("{}\n")
    assert main([*map(str, two), str(registry), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().err == ""


def test_runs_of_the_same_name_go_by_their_path(run_folder):
    folders = [run_folder(bars=30, at="a/run"), run_folder(bars=30, at="b/run")]
    assert [each.label for each in read_all(folders)] == [str(folder) for folder in folders]


def test_bad_input_is_one_line(run_folder, tmp_path, capsys):
    folder = run_folder(bars=30)
    assert main([str(folder), str(tmp_path / "none")]) == 1
    assert "none is not a run folder" in capsys.readouterr().err
    assert main([str(folder), str(folder)]) == 1
    assert f"error: {folder} is named twice" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([str(folder)])
    assert "name two or more to compare" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--out" in capsys.readouterr().out


def test_one_bar_compares_too(run_folder, tmp_path):
    folders = [run_folder(bars=1, at=at) for at in "ab"]
    assert main([*map(str, folders), "--out", str(tmp_path / "page.html"), "--debug"]) == 0
    assert isinstance(pd.read_csv(folders[0] / "equity.csv"), pd.DataFrame)
