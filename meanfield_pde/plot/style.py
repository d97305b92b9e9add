"""What all figures share: type, colours, and logarithmic axes with a zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from meanfield_pde.measures.check import Array
from meanfield_pde.studies.files import whole

P = ParamSpec("P")

STYLE: Any = {
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
}
PANEL = 2.6
"""Width of a small panel, in inches."""
MOST_PANELS = 5
HOLDS, FAILS, QUIET, PARTICLES = "#0072B2", "#D55E00", "#888888", "#E69F00"
NAMES = {
    "w1": "$W_1$",
    "w2": "$W_2$",
    "rmd": "relative $W_2$",
    "mmd": "maximum mean discrepancy",
    "model": "network outputs, $L^2$",
    "sliced_w2": "sliced $W_2$",
}
ROUNDOFF = 1e-12
"""Asymmetry up to which a density counts as invariant."""
ZERO = 1e-18
"""Where a zero stands on a logarithmic axis."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style of this package, whatever the user's own settings are."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return styled


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    with whole(path) as partial:
        figure.savefig(partial, format="png", dpi=160)


def zero_ticks(axes: Axes, which: str) -> None:
    """Mark each third decade, and zero at the end of the axis."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(base=1000, numticks=20))
    axis.set_minor_locator(LogLocator(base=10, numticks=40))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))

    def text(value: float, _: Any) -> str:
        power = round(np.log10(value))
        return "0" if value <= ZERO * 1.01 else "1" if power == 0 else f"$10^{{{power}}}$"

    axis.set_major_formatter(FuncFormatter(text))


def spread(times: Array) -> list[float]:
    """At most `MOST_PANELS` of the times: the first, the last, and some evenly in between."""
    picked = np.linspace(0, len(times) - 1, min(len(times), MOST_PANELS)).round().astype(int)
    return [float(times[k]) for k in picked]


def apart(sizes: list[int]) -> list[str]:
    """Labels of ticks, empty where they would touch the one before on a logarithmic axis."""
    labels, last = [], 0
    for n in sizes:
        labels.append(str(n) if n >= 2.5 * last else "")
        last = n if labels[-1] else last
    return labels
