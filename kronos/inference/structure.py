"""Whether modules are the plain ones, so that the fused sampler computes what they would.

Knows modules: classes, parts, hooks, methods; nothing of forecasts. The fused sampler reads weights
and never calls the modules, so anything that changes what a call does must be found here: a part of
another class (LoRA, quantised, parametrised), another shape, a hook, an overridden method, a
setting that a fresh module of the same sizes does not have, dropout that is switched on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kronos import layers, model, quantizer, tokenizer
from kronos.errors import ConfigError
from kronos.model import Kronos
from kronos.tokenizer import KronosTokenizer

# Settings that change no forecast: dropout's (see `_training_matters`) and weights of the loss.
IGNORED_SETTINGS = {
    *("training", "p", "inplace", "beta", "gamma", "gamma0", "zeta"),
    *("ffn_dropout_p", "attn_dropout_p", "resid_dropout_p", "token_dropout_p"),
}
# Attributes of an instance that hide those of its class and yet change no result.
IGNORED_ATTRIBUTES = {"_compiled_call_impl", "_hub_mixin_config"}
PLAIN_TENSORS = (nn.Parameter, Tensor)
OWN_CLASSES = [
    cls
    for module in (layers, model, quantizer, tokenizer)
    for cls in vars(module).values()
    if isinstance(cls, type) and cls.__module__ == module.__name__ and issubclass(cls, nn.Module)
]
METHODS: dict[tuple[type, str], object] = {
    (cls, name): value
    for cls in OWN_CLASSES
    for name, value in vars(cls).items()
    if callable(value) or isinstance(value, property)
}
METHODS |= {(cls, "forward"): vars(cls)["forward"] for cls in (nn.Linear, nn.Embedding, nn.Dropout)}
METHODS[nn.Module, "__call__"] = vars(nn.Module)["__call__"]
ROOTS: dict[str, Callable[..., nn.Module]] = {
    "Kronos": Kronos,
    "KronosTokenizer": KronosTokenizer,
}
Sizes = tuple[tuple[str, float], ...]  # names and values of a constructor's arguments


@dataclass(frozen=True)
class Part:
    """What one module of a fresh tree looks like."""

    kind: type
    children: frozenset[str]
    shapes: dict[str, tuple[int, ...] | None]  # of parameters and buffers; None where there is none
    settings: dict[str, object]


def departures(net: nn.Module, tokenizer_net: nn.Module) -> list[str]:
    """What keeps a model and its tokenizer from being plain, in words; empty where they are."""
    causes = [
        f"{cls.__name__}.{name} was replaced"
        for (cls, name), value in METHODS.items()
        if vars(cls).get(name) is not value
    ]
    if nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks:
        causes.append("a global forward hook is registered")
    causes += _departures_of(net, Kronos, "the model")
    causes += _departures_of(tokenizer_net, KronosTokenizer, "the tokenizer")
    return causes


def _departures_of(root: nn.Module, kind: type, name: str) -> list[str]:
    if type(root) is not kind:
        return [_another_class(name, root, kind)]
    try:
        sizes = _sizes(root)
        fresh = _fresh(kind.__name__, sizes)
    except (AttributeError, TypeError, ValueError, ConfigError):
        return [f"{name} has no sizes that a {kind.__name__} can be made of"]
    causes = list(_differences(root, fresh, "", name))
    if any(_training_matters(module) for module in root.modules()):
        causes.append(f"{name} is in training mode (eval() ends it)")
    if not causes and not _blocks_rotate_alike(root):
        causes.append(f"{name}'s blocks rotate differently")
    return causes


def _another_class(where: str, module: nn.Module, wanted: type) -> str:
    same = type(module).__name__ == wanted.__name__
    names = [
        f"{cls.__module__}.{cls.__name__}" if same else cls.__name__
        for cls in (type(module), wanted)
    ]
    return f"{where} is a {names[0]}, not a {names[1]}"


def _sizes(root: nn.Module) -> Sizes:
    """Arguments that make a module of the same sizes; the others change no structure."""
    none = dict.fromkeys(("ffn_dropout_p", "attn_dropout_p", "resid_dropout_p"), 0.0)
    if isinstance(root, Kronos):
        names = ["s1_bits", "s2_bits", "n_layers", "d_model", "n_heads", "ff_dim", "learn_te"]
        given = {name: getattr(root, name) for name in names} | {"token_dropout_p": 0.0}
    else:
        names = ["d_in", "d_model", "n_heads", "ff_dim", "s1_bits", "s2_bits"]
        given = {name: getattr(root, name) for name in names}
        given |= {f"n_{name}": getattr(root, name) for name in ("enc_layers", "dec_layers")}
        given |= dict.fromkeys(("beta", "gamma0", "gamma", "zeta"), 0.0)
        given["group_size"] = root.get_buffer("tokenizer.bsq.group_basis").numel()
    return tuple((given | none).items())


@functools.lru_cache(maxsize=8)
def _fresh(kind: str, sizes: Sizes) -> dict[str, Part]:
    """The parts of a new module of these sizes, by name."""
    with torch.device("meta"):
        root = ROOTS[kind](**dict(sizes))
    return {name: _part(module) for name, module in root.named_modules()}


def _part(module: nn.Module) -> Part:
    tensors = {**module._parameters, **module._buffers}
    return Part(
        type(module),
        frozenset(module._modules),
        {name: None if t is None else tuple(t.shape) for name, t in tensors.items()},
        {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_") and isinstance(value, int | float | str | None)
        },
    )


def _differences(module: nn.Module, fresh: dict[str, Part], name: str, root: str) -> Iterator[str]:
    """How a module and its parts differ from the fresh ones."""
    where, wanted = f"{root}.{name}" if name else root, fresh[name]
    if type(module) is not wanted.kind:
        yield _another_class(where, module, wanted.kind)
        return
    yield from _own_departures(module, wanted, where)
    if frozenset(module._modules) != wanted.children:
        yield f"{where} has other parts than a fresh {wanted.kind.__name__} of its sizes"
        return
    for child, part in module._modules.items():
        path = f"{name}.{child}" if name else child
        if part is None:
            yield f"{root}.{path} is missing"
        else:
            yield from _differences(part, fresh, path, root)


def _own_departures(module: nn.Module, wanted: Part, where: str) -> Iterator[str]:
    if module._forward_hooks or module._forward_pre_hooks:
        yield f"{where} has a forward hook"
    tensors = {**module._parameters, **module._buffers}
    if {k: None if t is None else tuple(t.shape) for k, t in tensors.items()} != wanted.shapes:
        yield f"{where} has other weights than a fresh {wanted.kind.__name__} of its sizes"
    if any(t is not None and type(t) not in PLAIN_TENSORS for t in tensors.values()):
        yield f"{where} has weights that are no plain tensors"
    for name, value in vars(module).items():
        if name in wanted.settings:
            if name not in IGNORED_SETTINGS and value != wanted.settings[name]:
                yield f"{where}.{name} is {value!r}, not {wanted.settings[name]!r}"
        elif name in IGNORED_SETTINGS or name in IGNORED_ATTRIBUTES or name in _base_names():
            continue
        elif hasattr(type(module), name):
            yield f"{where}.{name} is overridden"


@functools.cache
def _base_names() -> frozenset[str]:
    """Attributes that every module has of its own."""
    return frozenset(vars(nn.Module()))


def _training_matters(module: nn.Module) -> bool:
    """Whether training mode changes what this module computes by itself."""
    if not module.training:
        return False
    if isinstance(module, nn.Dropout):
        return module.p > 0
    if isinstance(module, layers.Attention) and module.attn_dropout_p > 0:
        return True
    return isinstance(module, layers.CrossAttention)


def _blocks_rotate_alike(root: nn.Module) -> bool:
    """Whether all blocks have the frequencies of the first, which the fused sampler uses."""
    rotaries = [
        block.self_attn.rotary.inv_freq
        for block in root.modules()
        if isinstance(block, layers.TransformerBlock)
    ]
    return all(torch.equal(rotaries[0], other) for other in rotaries[1:])
