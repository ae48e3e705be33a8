"""What the commands of this room share: an error is one line and exit status 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from reports.files import ReportError


def guarded(work: Callable[[], None], *, debug: bool) -> int:
    """Do the work; an error becomes one line and exit status 1."""
    try:
        work()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # nobody reads the output any more (`| head`); Python would try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, ReportError)
        line = " ".join(str(error).split())
        print(f"error: {'' if known else type(error).__name__ + ': '}{line}", file=sys.stderr)
        return 1
    return 0
