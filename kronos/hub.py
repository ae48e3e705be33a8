"""Finds checkpoints: bundled, published, local or on the hub; and checks what arrived.

Knows names, revisions, hashes and files of weights (`config.json`, `model.safetensors`); nothing of
candles. Only `safetensors` is read, hub revisions are pinned to a commit. Names, cards and
fingerprints need the files alone; torch is imported where weights are read.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kronos.errors import CheckpointError, UnknownModelError
from kronos.prepare import whole_number

if TYPE_CHECKING:
    import torch

    from kronos.model import Kronos
    from kronos.predictor import KronosPredictor
    from kronos.tokenizer import KronosTokenizer

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_CONTEXT = 512
FILES = ("config.json", "model.safetensors")
Net = TypeVar("Net", "Kronos", "KronosTokenizer")


@dataclass(frozen=True)
class HubFiles:
    """A repository of the hub at a commit; with sizes and hashes where they are known."""

    repo: str
    revision: str
    config_sha256: str | None = None
    weights_sha256: str | None = None
    weights_bytes: int | None = None


@dataclass(frozen=True)
class Published:
    """A published model, its tokenizer, the bars it sees, and the last day it may have seen."""

    model: HubFiles
    tokenizer: HubFiles
    max_context: int
    seen_until: dt.date = dt.date(2024, 6, 30)


_TOKENIZER_2K = HubFiles(
    "NeoQuasar/Kronos-Tokenizer-2k",
    "26966d0035065a0cae0ebad7af8ece35bc1fb51c",
    "0b30a443affb03e05a876a083857de9164f899feb7b4d261da02c485c9a3e3b6",
    "b97ec46b3b72160509e289183eaf7bdf5f0dac5bb9b49522f6d46638a99a8717",
    15_842_376,
)
_TOKENIZER_BASE = HubFiles(
    "NeoQuasar/Kronos-Tokenizer-base",
    "0e0117387f39004a9016484a186a908917e22426",
    "2366e7ccfec76cbc19cf3c4c1b9c5d901be336ca1e83f2d2292c9bff381b77a2",
    "59d85f6af76a2c3b8240ea06cb21db4213b4eeca053f246b23e29cf832fc6bee",
    15_842_368,
)
PUBLISHED = {
    "mini": Published(
        HubFiles(
            "NeoQuasar/Kronos-mini",
            "f4e68697d9d5aed55cef5c96aabc3376bcad9f81",
            "70daca2cb11e3a979dd6b8ac12ee08e2aace877acf28f5b8dfb4fe5609736201",
            "a7d5f37e2e9fbd9891f7d7d4f72574512dd1f704fee14223e0a8cd0fbf54197c",
            16_440_776,
        ),
        _TOKENIZER_2K,
        2048,
    ),
    "small": Published(
        HubFiles(
            "NeoQuasar/Kronos-small",
            "901c26c1332695a2a8f243eb2f37243a37bea320",
            "5e0f6a605d5f81b5c9b559fe5cf716a1acb041c744e6f41bd05b097b7a685396",
            "b082dfcbd8e8c142a725c8bbb99781802f38fec81210e13479effb32b3c3e020",
            98_980_656,
        ),
        _TOKENIZER_BASE,
        512,
    ),
    "base": Published(
        HubFiles(
            "NeoQuasar/Kronos-base",
            "2b554741eca47781b64468546e77fef3e85130e6",
            "77ebc3038b647709b92be002f801d72e1a385f4c8c2c5aa1cc6cf21fcfe44eb2",
            "abff193acab6db1a0368e9773e75799d11403b6d054ee6d5f0a11aeabc5f4b83",
            409_264_008,
        ),
        _TOKENIZER_BASE,
        512,
    ),
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its tokenizer. Weights are read and checked at the first use of either.

    fingerprint: SHA-256 over both configs and weight files. max_context: bars the model sees.
    seen_until: last day that training or model selection may have seen, None where unknown.
    """

    name: str
    model_folder: Path
    tokenizer_folder: Path
    max_context: int
    fingerprint: str
    seen_until: dt.date | None

    @property
    def model(self) -> Kronos:
        return self._nets[0]

    @property
    def tokenizer(self) -> KronosTokenizer:
        return self._nets[1]

    def predictor(
        self, device: str | torch.device | None = None, dtype: str = "float32"
    ) -> KronosPredictor:
        from kronos.predictor import KronosPredictor

        return KronosPredictor(self.model, self.tokenizer, device, self.max_context, dtype=dtype)

    @cached_property
    def _nets(self) -> tuple[Kronos, KronosTokenizer]:
        from kronos.model import Kronos
        from kronos.tokenizer import KronosTokenizer

        model = read_checkpoint(Kronos, self.model_folder)
        tokenizer = read_checkpoint(KronosTokenizer, self.tokenizer_folder)
        if (model.s1_bits, model.s2_bits) != (tokenizer.s1_bits, tokenizer.s2_bits):
            raise CheckpointError(
                f"{self.model_folder} has tokens of {model.s1_bits}+{model.s2_bits} bits, "
                f"{self.tokenizer_folder} of {tokenizer.s1_bits}+{tokenizer.s2_bits}: they do not "
                "go together"
            )
        if _fingerprint(self.model_folder, self.tokenizer_folder) != self.fingerprint:
            raise CheckpointError(
                f"the files of model {self.name} have changed since they were found: run again"
            )
        return model, tokenizer


def load(name: str = "bundled") -> Checkpoint:
    """A checkpoint by name, its weights read and checked. For the names see `find`."""
    checkpoint = find(name)
    _ = checkpoint.model
    return checkpoint


def find(name: str = "bundled") -> Checkpoint:
    """A checkpoint by name, its weights not read yet: what is known from its files alone.

    name: `bundled`; `mini`, `small`, `base` (published, from the hub or its cache); a folder with
    `model/` and `tokenizer/` in it; or a pair of hub ids `ORG/MODEL@COMMIT,ORG/TOKENIZER@COMMIT`.
    Raises UnknownModelError for any other name, CheckpointError where files are missing, damaged
    or contradict each other.
    """
    if name == "bundled":
        return _find_folder(BUNDLED, name)
    if name in PUBLISHED:
        published = PUBLISHED[name]
        folders = _fetch(published.model), _fetch(published.tokenizer)
        return _find_pair(name, *folders, published.max_context, published.seen_until)
    if name == "large":
        raise UnknownModelError(
            "model 'large' (499.2 M parameters) has no open weights; published are mini, small, "
            "base"
        )
    if Path(name).is_dir():
        return _find_folder(Path(name), name)
    if "," in name:
        model, tokenizer = (_hub_id(part, name) for part in _pair_of_ids(name))
        return _find_pair(name, _fetch(model), _fetch(tokenizer), DEFAULT_CONTEXT, None)
    known_names = ["bundled", *PUBLISHED]
    close = difflib.get_close_matches(name, known_names, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise UnknownModelError(
        f"unknown model {name!r}{hint}; it must be one of {', '.join(known_names)}, a folder with "
        "model/ and tokenizer/, or ORG/MODEL@COMMIT,ORG/TOKENIZER@COMMIT"
    )


def _pair_of_ids(name: str) -> list[str]:
    parts = [part.strip() for part in name.split(",")]
    if len(parts) != 2:
        raise UnknownModelError(f"a hub pair is MODEL@COMMIT,TOKENIZER@COMMIT, got {name!r}")
    return parts


def _hub_id(text: str, name: str) -> HubFiles:
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", text)
    if match is None:
        raise UnknownModelError(
            f"{text!r} in {name!r} must be ORG/NAME@COMMIT with the commit's 40 hex digits, so "
            "that the weights cannot change under you"
        )
    return HubFiles(match[1], match[2])


def _find_folder(folder: Path, name: str) -> Checkpoint:
    folders = folder / "model", folder / "tokenizer"
    for needed in folders:
        if not needed.is_dir():
            raise CheckpointError(
                f"{folder} has no folder {needed.name}/; it needs model/, tokenizer/"
            )
    context, seen_until = _card(folder / "card.json")
    return _find_pair(name, *folders, context, seen_until)


def _card(path: Path) -> tuple[int, dt.date | None]:
    """max_context and seen_until of a checkpoint's card, or what holds without one."""
    if not path.exists():
        return DEFAULT_CONTEXT, None
    card = _read_json(path)
    seen_until = card.get("seen_until")
    try:
        context = whole_number(card.get("max_context", DEFAULT_CONTEXT), "max_context", 1)
        return context, None if seen_until is None else dt.date.fromisoformat(seen_until)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def _find_pair(
    name: str, model: Path, tokenizer: Path, max_context: int, seen_until: dt.date | None
) -> Checkpoint:
    fingerprint = _fingerprint(model, tokenizer)
    return Checkpoint(name, model, tokenizer, max_context, fingerprint, seen_until)


def _fingerprint(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for file in FILES:
            digest.update(_sha256(_existing(folder / file)).encode())
    return digest.hexdigest()


def read_checkpoint(cls: type[Net], folder: Path) -> Net:
    """Build `cls` from `config.json` and fill it from `model.safetensors`, in eval mode.

    Raises CheckpointError where a file is missing or damaged, or where the tensors are not those
    that the config asks for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = _read_json(_existing(folder / "config.json"))
    wanted = set(inspect.signature(cls.__init__).parameters) - {"self"}
    if missing := sorted(wanted - set(config)):
        raise CheckpointError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
    try:
        net = cls(**{key: config[key] for key in wanted})
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None
    path = _existing(folder / "model.safetensors")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}); it may be half downloaded: delete "
            "it and fetch it again"
        ) from None
    _check_tensors(net.state_dict(), tensors, folder)
    net.load_state_dict(tensors)
    return net.eval()


def _check_tensors(
    wanted: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor], folder: Path
) -> None:
    for key in sorted(set(wanted) | set(got)):
        if key not in got or key not in wanted:
            side = "lacks" if key not in got else "has, beyond its config,"
            raise CheckpointError(f"{folder / 'model.safetensors'} {side} the tensor {key}")
        if wanted[key].shape != got[key].shape:
            raise CheckpointError(
                f"{folder}: config.json asks for {key} of shape {list(wanted[key].shape)}, "
                f"model.safetensors has {list(got[key].shape)}"
            )


def _fetch(files: HubFiles) -> Path:
    """The folder of a repository's two files, from the hub or its cache, checked."""
    paths = [_download(files, file) for file in FILES]
    _check(paths[0], files.config_sha256, None)
    _check(paths[1], files.weights_sha256, files.weights_bytes)
    return paths[0].parent


def hf_hub_download(repo: str, file: str, *, revision: str) -> str:
    """The hub's own function, imported where it is needed: most runs ask no hub."""
    from huggingface_hub import hf_hub_download as download

    return download(repo, file, revision=revision)


def _download(files: HubFiles, file: str) -> Path:
    try:
        return Path(hf_hub_download(files.repo, file, revision=files.revision))
    except Exception as error:  # the hub's HTTP client, whichever it is, has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file} of {files.repo} is neither in the hub's cache nor within reach ({reason}); "
            f"where there is a network run `hf download {files.repo} --revision {files.revision}` "
            "and copy the cache here (HF_HOME), or use --model bundled"
        ) from error


def _check(path: Path, sha256: str | None, size: int | None) -> None:
    path = path.resolve()  # the cache holds a link; deleting that alone would not remove the file
    actual = path.stat().st_size
    if size is not None and actual != size:
        raise CheckpointError(
            f"{path} has {actual} bytes, the published file {size}: a download was cut short; "
            "delete it and run again"
        )
    if sha256 is not None and (got := _sha256(path)) != sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {got}, the published file {sha256}; delete it and run again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return content
