"""Imports run one way, between the folders and between the rooms of `sandbox/`."""

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
NEVER = {  # what a folder has no business with
    "kronos": {"backtrader", "ccxt", "ray"},
    "feeds": {"torch", "backtrader", "ray"},
    "sandbox": {"quantstats", "ray"},
    "strategies": {"torch", "ray", "pandas", "pathlib", "os"},
    "ray_jobs": set(),
    "reports": {"torch", "backtrader", "ray"},
}
GROUND = {"cli", "config", "cores", "errors", "files", "interrupts", "memory", "presets",
          "progress", "reporting", "words"}  # fmt: skip
INSIDE = {  # room of sandbox/ -> the rooms that it may import, besides the ground
    "trading": set(),
    "store": set(),
    "replay": set(),
    "tries": set(),
    "forecast": {"store"},
    "skill": {"forecast", "store"},
    "checkpoints": {"forecast", "store"},
    "run": {"trading", "tries", "forecast", "store"},
    "lookahead": {"run", "trading", "tries", "forecast", "store"},
    "paper": {"run", "trading", "tries", "forecast", "store"},
}
NEVER_INSIDE = {  # what else a room of sandbox/ knows nothing of
    "trading": {"kronos", "torch", "pyarrow"},
    "store": {"kronos", "feeds", "backtrader", "torch"},
    "forecast": {"backtrader"},
    "checkpoints": {"backtrader"},
    "skill": {"backtrader", "torch"},
}


def imports(text):
    """Every name that a file imports, and on which line; `from a import b` as `a.b`.

    What is imported for type checkers alone counts as well, but for the model's `Forecast`, which a
    strategy is handed.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def wrong_in_a_folder(folder, text):
    closed = (set(MAY_IMPORT) - MAY_IMPORT[folder] - {folder}) | NEVER[folder]
    return [(name, line) for name, line in imports(text) if name.partition(".")[0] in closed]


def wrong_in_a_room(room, text):
    """What a file of a room of `sandbox/`, "" for the ground, must not import."""
    open_rooms = GROUND | INSIDE.get(room, set()) | ({room} if room else set())
    closed = NEVER_INSIDE.get(room, set())
    wrong = []
    for name, line in imports(text):
        top, _, rest = name.partition(".")
        upward = top == "sandbox" and rest.partition(".")[0] not in open_rooms
        if upward or (top in closed and name != "kronos.Forecast"):
            wrong.append((name, line))
    return wrong


def room_of(path):
    """The room of a file of `sandbox/`: "" for the ground."""
    inner = path.relative_to(ROOT / "sandbox")
    return inner.parts[0] if len(inner.parts) > 1 else ""


def python_files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_stands_below_it(folder):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files(folder)
        for name, line in wrong_in_a_folder(folder, path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def test_strategies_use_public_names_only():
    wrong = [
        f"{path.name}:{line} imports {name}"
        for path in python_files("strategies")
        for name, line in imports(path.read_text(encoding="utf-8"))
        if name.startswith("sandbox.") and name.count(".") > 1
    ]
    assert not wrong


def test_every_file_of_the_sandbox_has_a_room_with_a_rule():
    rooms = {room_of(path) for path in python_files("sandbox")}
    assert rooms <= {"", *INSIDE}
    ground = {path.stem for path in (ROOT / "sandbox").glob("*.py")} - {"__init__"}
    assert ground == GROUND


@pytest.mark.parametrize("room", ["", *INSIDE])
def test_a_room_of_the_sandbox_imports_only_what_stands_below_it(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in python_files("sandbox")
        if room_of(path) == room and path != ROOT / "sandbox" / "__init__.py"
        for name, line in wrong_in_a_room(room, path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def test_the_rule_of_rooms_has_no_circle():
    done = set()
    while left := set(INSIDE) - done:
        ready = {room for room in left if INSIDE[room] <= done}
        assert ready, f"{left} import one another"
        done |= ready


def module_of(path):
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def test_no_two_modules_import_one_another():
    """By any way round. What a function imports when it is called is left out."""
    paths = [path for folder in MAY_IMPORT for path in python_files(folder)]
    modules = {module_of(path) for path in paths}
    needs = {module_of(path): set(at_import(path, modules)) for path in paths}
    done = set()
    while left := set(needs) - done:
        ready = {name for name in left if needs[name] <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready


def at_import(path, modules):
    """The project's modules that are imported when a file is."""
    here = module_of(path).split(".")
    package = here if path.stem == "__init__" else here[:-1]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found = inner if inner in modules else base
                if found in modules and found != module_of(path):
                    yield found


@pytest.mark.parametrize(
    ("room", "line", "is_wrong"),
    [
        ("trading", "from sandbox.forecast.windows import Windows", True),
        ("trading", "import sandbox.run.job", True),
        ("trading", "from kronos.model import Kronos", True),
        ("trading", "from kronos import Forecast", False),
        ("trading", "from sandbox import forecast", True),
        ("trading", "from sandbox.words import listed", False),
        ("forecast", "from sandbox.trading.feed import CandleFeed", True),
        ("forecast", "def f():\n    import backtrader", True),
        ("store", "from sandbox.forecast.windows import Windows", True),
        ("store", "from sandbox.config import Sampling", False),
        ("skill", "from sandbox.forecast.book import ForecastBook", False),
        ("skill", "from sandbox.trading import engine", True),
        ("skill", "import backtrader", True),
        ("run", "from sandbox.lookahead import proof", True),
        ("run", "from sandbox.trading import engine", False),
        ("lookahead", "from sandbox.run.trials import Trials", False),
        ("", "from sandbox.trading.costs import CostModel", True),
        ("", "from sandbox.errors import SandboxError", False),
        ("", "import sandbox.store.sets", True),
    ],
)
def test_the_rule_finds_what_it_is_there_for(room, line, is_wrong):
    assert bool(wrong_in_a_room(room, line)) is is_wrong


def test_the_rule_of_folders_finds_what_it_is_there_for():
    assert wrong_in_a_folder("feeds", "from sandbox.config import Sampling")
    assert wrong_in_a_folder("reports", "if True:\n    from backtrader import Cerebro")
    assert not wrong_in_a_folder("sandbox", "from feeds import load")
