"""A matplotlib backend that draws a figure when it is saved and not before.

quantstats builds its figures through pyplot, which would render each one twice into pixels that
are thrown away, and once more to lay it out, before it is written as SVG.
"""

from __future__ import annotations

from typing import Any

from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.layout_engine import PlaceHolderLayoutEngine


class FigureCanvas(FigureCanvasSVG):
    """Saves as SVG; has no screen."""

    def draw(self) -> None:
        """There is no screen to draw on."""

    def print_figure(self, *args: Any, **kwargs: Any) -> Any:
        """Save without a drawing for the sake of a layout that `tight_layout` has computed."""
        if isinstance(self.figure.get_layout_engine(), PlaceHolderLayoutEngine):
            self.figure.set_layout_engine(None)
        return super().print_figure(*args, **kwargs)

    def draw_idle(self, *args: Any, **kwargs: Any) -> None:
        """There is no screen to draw on."""


FigureManager = FigureManagerBase
