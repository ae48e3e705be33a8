"""Numbers as pages and tables show them: with thousands separators and a real minus sign."""

from __future__ import annotations

from collections.abc import Callable

Format = Callable[[float], str]

NOTHING = "\N{EN DASH}"  # where a figure is not defined


def percent(value: float) -> str:
    return f"{value:,.1f} %"


def signed_percent(value: float) -> str:
    return f"{value:+,.1f} %"


def fine_percent(value: float) -> str:
    return f"{value:,.2f} %"


def signed_fine_percent(value: float) -> str:
    return f"{value:+.2f} %"


def whole_percent(value: float) -> str:
    return f"{value:,.0f} %"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def signed_ratio(value: float) -> str:
    return f"{value:+.2f}"


def signed_tenths(value: float) -> str:
    return f"{value:+.1f}"


def signed_thousandths(value: float) -> str:
    return f"{value:+.3f}"


def loss(value: float) -> str:
    """Of training, in nats or squared deviations."""
    return f"{value:.4f}"


def signed_loss(value: float) -> str:
    return f"{value:+.4f}" if value else "0"


def crps(value: float) -> str:
    return f"{value:.5f}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def signed_whole(value: float) -> str:
    """Money won or lost; what rounds to nothing has no sign."""
    text = f"{value:+,.0f}"
    return "0" if text in ("+0", "-0") else text


def size(value: float) -> str:
    """Shares or coins, to seven digits."""
    return f"{value:,.7g}"


def price(value: float) -> str:
    """To six digits."""
    return f"{value:,.6g}"


def shown(value: float | None, text: Format) -> str:
    """A number in a format, or a dash."""
    return NOTHING if value is None else minus_signs(text(value))


def minus_signs(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def counted(count: int, noun: str) -> str:
    """`1 day`, `20 days`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
