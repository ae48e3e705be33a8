"""Checkpoints are found, checked and refused: folders, published names, pairs, downloads.

Downloads run the real client against a server on this machine that holds a tiny checkpoint.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from kronos import Checkpoint, CheckpointError, UnknownModelError, hub, load
from kronos.hub import PUBLISHED, HubFiles, Published
from tests.kronos.conftest import GOLDEN


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests are on loopback, so a user's wish to stay offline is kept."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = {
    "NeoQuasar/Kronos-mini": (
        "f4e68697d9d5aed55cef5c96aabc3376bcad9f81",
        "70daca2cb11e3a979dd6b8ac12ee08e2aace877acf28f5b8dfb4fe5609736201",
        "a7d5f37e2e9fbd9891f7d7d4f72574512dd1f704fee14223e0a8cd0fbf54197c",
        16_440_776,
    ),
    "NeoQuasar/Kronos-small": (
        "901c26c1332695a2a8f243eb2f37243a37bea320",
        "5e0f6a605d5f81b5c9b559fe5cf716a1acb041c744e6f41bd05b097b7a685396",
        "b082dfcbd8e8c142a725c8bbb99781802f38fec81210e13479effb32b3c3e020",
        98_980_656,
    ),
    "NeoQuasar/Kronos-base": (
        "2b554741eca47781b64468546e77fef3e85130e6",
        "77ebc3038b647709b92be002f801d72e1a385f4c8c2c5aa1cc6cf21fcfe44eb2",
        "abff193acab6db1a0368e9773e75799d11403b6d054ee6d5f0a11aeabc5f4b83",
        409_264_008,
    ),
    "NeoQuasar/Kronos-Tokenizer-base": (
        "0e0117387f39004a9016484a186a908917e22426",
        "2366e7ccfec76cbc19cf3c4c1b9c5d901be336ca1e83f2d2292c9bff381b77a2",
        "59d85f6af76a2c3b8240ea06cb21db4213b4eeca053f246b23e29cf832fc6bee",
        15_842_368,
    ),
    "NeoQuasar/Kronos-Tokenizer-2k": (
        "26966d0035065a0cae0ebad7af8ece35bc1fb51c",
        "0b30a443affb03e05a876a083857de9164f899feb7b4d261da02c485c9a3e3b6",
        "b97ec46b3b72160509e289183eaf7bdf5f0dac5bb9b49522f6d46638a99a8717",
        15_842_376,
    ),
}


@pytest.mark.parametrize(
    ("name", "tokenizer", "context"),
    [("mini", "2k", 2048), ("small", "base", 512), ("base", "base", 512)],
)
def test_published_names_are_pinned(name: str, tokenizer: str, context: int) -> None:
    known = PUBLISHED[name]
    assert known.model == HubFiles(known.model.repo, *PINNED[f"NeoQuasar/Kronos-{name}"])
    repo = f"NeoQuasar/Kronos-Tokenizer-{tokenizer}"
    assert known.tokenizer == HubFiles(repo, *PINNED[repo])
    assert known.model.repo == f"NeoQuasar/Kronos-{name}"
    assert known.max_context == context
    assert known.seen_until == dt.date(2024, 6, 30)


def refused(name: str | Path, text: str, error: type[CheckpointError] = CheckpointError) -> None:
    """Loading `name` gives a one-line error that has `text` in it."""
    with pytest.raises(error, match=re.escape(text)) as caught:
        load(str(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("smal", "unknown model 'smal' (did you mean 'small'?); it must be one of bundled, mini"),
        ("xyz", "unknown model 'xyz'; it must be one of bundled, mini, small, base, a folder"),
        ("large", "model 'large' (499.2 M parameters) has no open weights; published are mini"),
        ("a/b@" + COMMIT + ",c/d", "'c/d' in"),
        ("a/b@main,c/d@main", "must be ORG/NAME@COMMIT with the commit's 40 hex digits, so that"),
        ("a/b,c/d,e/f", "a hub pair is MODEL@COMMIT,TOKENIZER@COMMIT, got 'a/b,c/d,e/f'"),
    ],
)
def test_names_that_no_checkpoint_has(name: str, text: str) -> None:
    refused(name, text, UnknownModelError)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder without a card."""
    for part in ("model", "tokenizer"):
        shutil.copytree(GOLDEN / "tiny" / part, tmp_path / "it" / part)
    return tmp_path / "it"


def edit(path: Path, **changes: object) -> None:
    """Fields of a JSON file set, or taken out where None."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in (content | changes).items() if v is not None}))


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return all(
        torch.equal(x, y)
        for one, two in ((a.model, b.model), (a.tokenizer, b.tokenizer))
        for x, y in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


def test_a_folder_loads_in_eval_mode(folder: Path) -> None:
    got = load(str(folder))
    stored = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(tensor, stored[key]) for key, tensor in got.model.state_dict().items())
    assert (got.name, got.max_context, got.seen_until) == (str(folder), 512, None)
    assert not got.model.training
    assert not got.tokenizer.training


def test_a_card_gives_context_and_last_day_seen(folder: Path) -> None:
    edit(folder / "card.json", max_context=40, seen_until="2018-12-31")
    got = load(str(folder))
    assert (got.max_context, got.seen_until) == (40, dt.date(2018, 12, 31))
    assert got.predictor("cpu").max_context == 40


def test_the_fingerprint_is_of_content_not_of_place(folder: Path) -> None:
    copy = shutil.copytree(folder, folder.parent / "a, b")
    before = load(str(folder)).fingerprint
    assert load(str(copy)).fingerprint == before
    edit_tensors(copy / "model" / "model.safetensors", lambda t: t["norm.weight"].add_(1e-3))
    assert load(str(copy)).fingerprint != before


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_a_part_is_missing(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    refused(folder, f"it has no folder {part}/; it needs model/, tokenizer/")


@pytest.mark.parametrize("file", ["model/config.json", "tokenizer/model.safetensors"])
def test_a_file_is_missing(folder: Path, file: str) -> None:
    (folder / file).unlink()
    refused(folder, f"{folder / file} is missing")


@pytest.mark.parametrize("keep", [0, 4, 100, 30_000])
def test_half_a_weight_file(folder: Path, keep: int) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    refused(folder, "it may be half downloaded: delete it and fetch it again")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"d_model": None, "n_heads": None}, "config.json lacks d_model, n_heads"),
        ({"ff_dim": 128}, "config.json asks for transformer.0.ffn.w1.weight of shape [128, 32], "),
        ({"n_layers": 3}, "model.safetensors lacks the tensor transformer.2."),
        ({"n_layers": 1}, "has, beyond its config, the tensor transformer.1."),
        ({"n_heads": 5}, "config.json: d_model 32 cannot be split into 5 heads"),
        ({"n_heads": 0}, "config.json: every size of a model must be at least 1"),
        ({"d_model": "wide"}, "config.json: "),
        ({"s1_bits": 60}, "config.json: "),
        ({"ffn_dropout_p": 2.0}, "config.json: dropout probability"),
    ],
)
def test_a_config_that_its_tensors_contradict(
    folder: Path, changes: dict[str, object], text: str
) -> None:
    edit(folder / "model" / "config.json", **changes)
    refused(folder, text)


@pytest.mark.parametrize("size", [0, 3, -5, "five"])
def test_a_group_size_that_splits_no_bits(folder: Path, size: object) -> None:
    edit(folder / "tokenizer" / "config.json", group_size=size)
    refused(folder, "tokenizer/config.json: ")


def test_a_tensor_too_many_or_too_few(folder: Path) -> None:
    weights = folder / "tokenizer" / "model.safetensors"
    edit_tensors(weights, lambda t: t.update(extra=torch.zeros(1)))
    refused(folder, "model.safetensors has, beyond its config, the tensor extra")
    edit_tensors(weights, lambda t: [t.pop("extra"), t.pop("head.bias")])
    refused(folder, "model.safetensors lacks the tensor head.bias")


def test_a_model_and_a_tokenizer_of_other_tokens(folder: Path) -> None:
    other = load(str(folder)).tokenizer
    config = json.loads((folder / "tokenizer" / "config.json").read_text())
    type(other)(**config | {"s1_bits": 4, "s2_bits": 6}).save_pretrained(folder / "tokenizer")
    refused(folder, "model has tokens of 5+5 bits, ")
    refused(folder, "tokenizer of 4+6: they do not go together")


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ('{"max_context": 0}', "card.json: max_context must be a whole number, 1 or more, got 0"),
        ('{"max_context": "long"}', "card.json: max_context must be a whole number, 1 or more"),
        ('{"seen_until": "last year"}', "card.json: Invalid isoformat string: 'last year'"),
        ('{"seen_until": 2018}', "card.json: "),
        ("[]", "card.json must hold a JSON object"),
        ("{", "card.json is not readable JSON: "),
    ],
)
def test_a_card_that_says_nonsense(folder: Path, card: str, text: str) -> None:
    (folder / "card.json").write_text(card)
    refused(folder, text)


@dataclass
class Hub:
    """A server that speaks what the client needs to download, of a model and a tokenizer."""

    url: str = ""
    fault: str = ""
    asked: list[str] = field(default_factory=list)

    def file(self, path: str) -> Path | None:
        match = re.fullmatch(rf"/tests/tiny-(model|tokenizer)/resolve/{COMMIT}/([\w.]+)", path)
        return GOLDEN / "tiny" / match[1] / match[2] if match else None


def handler(state: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(head=True)

        def do_GET(self) -> None:
            self.answer(head=False)

        def answer(self, head: bool) -> None:
            state.asked.append(f"{self.command} {self.path}")
            file = state.file(self.path)
            if file is None or (state.fault == "error" and not head):
                self.send_error(404 if file is None else 500)
                return
            content = file.read_bytes()
            body = content[:-1] if state.fault == "short" and not head else content
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.fault == "reset" and not head:
                reset = struct.pack("ii", 1, 0)  # close at once, unsent data dropped
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                self.connection.shutdown(socket.SHUT_RD)
                self.connection.close()
            elif not head:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Hub]:
    state = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(state)) as http:
        http.handle_error = lambda *_: None  # type: ignore[method-assign]
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def facts(part: str) -> HubFiles:
    config, weights = (GOLDEN / "tiny" / part / file for file in hub.FILES)
    one, two = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (config, weights))
    return HubFiles(f"tests/tiny-{part}", COMMIT, one, two, weights.stat().st_size)


LOAD = """
import sys
from kronos import hub
model, tokenizer = (hub.HubFiles(*eval(fields)) for fields in sys.argv[1:])
hub.PUBLISHED = {"small": hub.Published(model, tokenizer, 40)}
found = hub.load("small")
print(found.name, found.max_context, found.seen_until, found.fingerprint)
"""


def load_elsewhere(home: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`load("small")` in a process of its own, with `home` as its cache and `url` as its hub."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HUGGING"))}
    pins = [repr(astuple(facts(part))) for part in ("model", "tokenizer")]
    env = kept | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", LOAD, *pins],
        env=env | more, cwd=Path(hub.__file__).parents[1],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_published_name_is_downloaded_once_and_then_needs_no_network(
    server: Hub, tmp_path: Path
) -> None:
    first = load_elsewhere(tmp_path, server.url)
    assert first.returncode == 0, first.stderr
    fingerprint = load(str(GOLDEN / "tiny")).fingerprint
    assert first.stdout.split() == ["small", "40", "2024-06-30", fingerprint]
    assert sum(line.startswith("GET") for line in server.asked) == 4
    asked = len(server.asked)
    offline = load_elsewhere(tmp_path, server.url, HF_HUB_OFFLINE="1")
    gone = load_elsewhere(tmp_path, "http://127.0.0.1:9")  # the port that discards
    assert offline.stdout == gone.stdout == first.stdout, offline.stderr + gone.stderr
    assert len(server.asked) == asked


@pytest.fixture
def published(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The published name `small` is what the server has; the cache is empty."""
    download = functools.partial(
        huggingface_hub.hf_hub_download, endpoint=server.url, cache_dir=tmp_path / "cache"
    )
    monkeypatch.setattr(hub, "hf_hub_download", download)
    pins = Published(facts("model"), facts("tokenizer"), 40)
    monkeypatch.setitem(PUBLISHED, "small", pins)
    return pins


def test_a_hub_pair_is_downloaded(published: Published) -> None:
    pair = f"{published.model.repo}@{COMMIT}, {published.tokenizer.repo}@{COMMIT}"
    got = load(pair)
    assert same(got, load("small"))
    assert (got.name, got.max_context, got.seen_until) == (pair, 512, None)


@pytest.mark.parametrize(
    ("pins", "text"),
    [
        ({"weights_sha256": "0" * 64}, f"the published file {'0' * 64}; delete it and run again"),
        ({"config_sha256": "0" * 64}, f"the published file {'0' * 64}; delete it and run again"),
        ({"weights_bytes": 7}, "the published file 7: a download was cut short; delete it and"),
    ],
)
def test_files_that_are_not_the_published_ones(
    published: Published, monkeypatch: pytest.MonkeyPatch, pins: dict[str, str], text: str
) -> None:
    wrong = replace(published, model=replace(published.model, **pins))  # type: ignore[arg-type]
    monkeypatch.setitem(PUBLISHED, "small", wrong)
    refused("small", text)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + b"!"], ids=["cut", "changed"]
)
def test_to_delete_the_named_file_and_run_again_repairs_the_cache(
    published: Published, damage: Callable[[bytes], bytes]
) -> None:
    good = load("small")
    weights = Path(hub._download(published.model, "model.safetensors")).resolve()
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(CheckpointError, match="delete it and run again") as caught:
        load("small")
    Path(str(caught.value).split(" has ")[0]).unlink()
    assert same(load("small"), good)


@pytest.mark.parametrize("fault", ["error", "short", "reset"])
def test_a_server_that_fails_midway(published: Published, server: Hub, fault: str) -> None:
    server.fault = fault
    refused("small", f"config.json of {published.model.repo} is neither in the hub's cache nor")
    server.fault = ""
    assert load("small").max_context == 40


@pytest.mark.usefixtures("published")
def test_a_repository_that_is_not_there() -> None:
    pair = f"tests/nothing@{COMMIT},tests/tiny-tokenizer@{COMMIT}"
    refused(pair, "config.json of tests/nothing is neither in the hub's cache nor within reach (")


def test_neither_network_nor_cache(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused("small", "config.json of tests/tiny-model is neither in the hub's cache nor within")
    todo = (
        f"where there is a network run `hf download {published.model.repo} --revision {COMMIT}` "
        "and copy the cache here (HF_HOME), or use --model bundled"
    )
    refused("small", todo)
