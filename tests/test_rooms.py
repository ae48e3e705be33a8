"""Imports run one way: kronos and feeds, then sandbox, then strategies, ray_jobs and reports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "kronos": set(),
    "feeds": set(),
    "sandbox": {"kronos", "feeds"},
    "strategies": {"sandbox"},
    "ray_jobs": {"kronos", "feeds", "sandbox"},
    "reports": set(),
}
NEVER = {  # what a room has no business with
    "kronos": {"backtrader", "ccxt", "ray"},
    "feeds": {"torch", "backtrader", "ray"},
    "sandbox": {"quantstats", "ray"},
    "strategies": {"torch", "ray", "pandas", "pathlib", "os"},
    "ray_jobs": set(),
    "reports": {"torch", "backtrader", "ray"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node.lineno


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_below_it(room):
    closed = (set(MAY_IMPORT) - MAY_IMPORT[room] - {room}) | NEVER[room]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for name, line in imports(path)
        if name.partition(".")[0] in closed
    ]
    assert not wrong


def test_strategies_use_public_names_only():
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in sorted((ROOT / "strategies").glob("*.py"))
        for name, line in imports(path)
        if name.startswith("sandbox.")
    ]
    assert not wrong
