"""A matplotlib backend that draws a figure when it is saved and not before.

quantstats builds its figures through pyplot, which would render each one twice into pixels that
nobody looks at, before it is written as SVG.
"""

from __future__ import annotations

from typing import Any

from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_svg import FigureCanvasSVG


class FigureCanvas(FigureCanvasSVG):
    """Saves as SVG; has no screen."""

    def draw(self) -> None:
        """Nobody looks."""

    def draw_idle(self, *args: Any, **kwargs: Any) -> None:
        """Nobody looks."""


FigureManager = FigureManagerBase
