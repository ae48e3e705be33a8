"""Where a command keeps what it makes, which in a job on a Ray cluster has to be said in full.

The working folder of a job is a copy of what was submitted with it, and goes when the cluster does
not need it any more: what is written to a relative path there is lost without a word.
"""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.errors import ConfigError

# Set by Ray in the process that a job begins with and in those that it starts itself; Ray's own
# workers, and a command that joins a cluster, do not have it.
OF_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def is_a_job() -> bool:
    """Whether this process was submitted to a Ray cluster: `ray job submit -- python -m ...`."""
    return OF_A_JOB in os.environ


def kept_place(path: Path, flag: str) -> Path:
    """The absolute form of a path at which something is to be kept.

    flag: the option that gave it, such as `--out`, for the error's text.
    Raises ConfigError for a relative one in a job.
    """
    if is_a_job() and not path.is_absolute():
        raise ConfigError(
            f"{flag} {path}: a job's working folder is a temporary copy, so what is written there "
            "is lost: give an absolute path on the cluster's shared storage"
        )
    return path.absolute()
