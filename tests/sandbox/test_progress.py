"""What a progress bar says of its speed."""

import pytest

from sandbox.progress import _Rate


class Stub:
    def __init__(self, completed, elapsed):
        self.completed, self.elapsed = completed, elapsed


@pytest.mark.parametrize(
    ("completed", "secs", "shown"),
    [(0, 1.0, "- pages/s"), (2, 5.0, "0.4 pages/s"), (12_345, 1.0, "12,345 pages/s")],
)
def test_a_slow_rate_is_not_rounded_to_nothing(completed, secs, shown):
    assert str(_Rate("pages").render(Stub(completed, secs))) == shown
