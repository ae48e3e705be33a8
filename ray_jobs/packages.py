"""Whether what the `ray` extra brings is installed. Imports none of it."""

from __future__ import annotations

from importlib.util import find_spec

from sandbox.errors import ConfigError

PACKAGES = ("ray", "tensorboard")


def expect_packages() -> None:
    """Raises ConfigError with how to get what is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} not installed; get it with pip install 'kronos-sandbox[ray]'"
        )
