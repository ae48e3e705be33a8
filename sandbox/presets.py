"""Settings that people want to repeat, by name; what is said on the command line goes over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.config import Param
from sandbox.errors import ConfigError
from sandbox.words import nearest

# The published backtest demo: 90 bars seen, 10 forecast, T 0.6, top_p 0.9, 5 paths; 50 names held,
# 5 dropped a day, 5 days kept at least; Chinese costs without slippage or impact; 100 million.
KRONOS_DEMO: Mapping[str, Any] = {
    "lookback": 90,
    "horizon": 10,
    "samples": 5,
    "temperature": 0.6,
    "top_p": 0.9,
    "cash": 100_000_000.0,
    "costs": "cn",
    "slippage_bps": 0.0,
    "impact": 0.0,
    "volume_cap_pct": 100.0,
    "params": {"k": 50, "n_drop": 5, "hold_thresh": 5, "score": "mean", "rebalance": "bar"},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {"kronos-demo": KRONOS_DEMO}


def preset_options(name: str | None) -> dict[str, Any]:
    """A preset's run options; raises `ConfigError` for an unknown name."""
    return {option: value for option, value in _preset(name).items() if option != "params"}


def preset_params(name: str | None) -> dict[str, Param]:
    """A preset's strategy parameters: for the strategies that declare them."""
    return dict(_preset(name).get("params", {}))


def _preset(name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    if name not in PRESETS:
        near = nearest(name, PRESETS)
        hint = f"did you mean {near}?" if near else f"known are {', '.join(PRESETS)}"
        raise ConfigError(f"--preset {name}: not known; {hint}")
    return PRESETS[name]
