"""The options of the command: its command line, over a file, over a preset, over the defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sandbox.cli import given_options, options_of_file
from sandbox.config import SkillConfig
from sandbox.errors import ConfigError
from sandbox.words import did_you_mean

Presets = Mapping[str, Mapping[str, Any]]
FLAGS = {"model": "models", "signal": "signals", "variant": "variants"}  # as named in a file, too


def skill_config(args: argparse.Namespace, presets: Presets) -> SkillConfig:
    """Raises ConfigError for what is wrong in any of them."""
    in_file = _by_records(options_of_file(args), args)
    named = in_file.pop("preset", None)
    preset = _preset(args.preset or named, presets)
    return SkillConfig.of(**{**preset, **in_file, **given_options(args, SkillConfig)})


def _by_records(in_file: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """A file may call an option as the command line does (`model: mini`), or as `skill.json`."""
    for flag, name in FLAGS.items():
        if flag in in_file and name in in_file:
            raise ConfigError(f"--config {args.config}: it has both {flag} and {name}, name one")
    return {FLAGS.get(name, name): value for name, value in in_file.items()}


def _preset(name: Any, presets: Presets) -> Mapping[str, Any]:
    if name is None:
        return {}
    if str(name) not in presets:
        known = f"known is {', '.join(presets)}"
        raise ConfigError(f"--preset {name}: not known; {known}{did_you_mean(str(name), presets)}")
    return presets[str(name)]
