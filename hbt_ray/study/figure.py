"""How every figure looks, and the two forms it is written in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "text.parse_math": False,  # a model's name is no formula
    "svg.hashsalt": "hbt_ray",  # the same numbers give the same file
}


def forms(draw: Callable[[Figure], None]) -> dict[str, bytes]:
    """The figure that `draw` fills, as `svg` and as `png`."""
    found = {}
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        draw(figure)
        for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            file = io.BytesIO()
            figure.savefig(file, format=ending, dpi=160, metadata=metadata)
            found[ending] = file.getvalue()
    return found
