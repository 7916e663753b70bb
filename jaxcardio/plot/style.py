"""The house look of figures, and what the functions that draw share. Imports matplotlib at the first figure."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import refusal

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
INK = "#404040"

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.xmargin": 0.02,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
}


@functools.cache
def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install jaxcardio[plot]") from None
    return matplotlib


def house_style() -> Any:
    """A context in which new figures have the house look: `with house_style(): fig, ax = plt.subplots()`."""
    mpl = _matplotlib()
    return mpl.rc_context(STYLE | {"axes.prop_cycle": mpl.cycler(color=COLOURS)})


def figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (7.0, 4.0), **options) -> tuple[Any, Any]:
    """A new figure in the house style and its axes, as `plt.subplots`; drawn without a window."""
    with house_style():
        fig = empty_figure(size)
        return fig, fig.subplots(rows, columns, **options)


def empty_figure(size: tuple[float, float]) -> Any:
    """A new figure in the house style without axes: for `screening` and `subfigures`."""
    with house_style():
        return _matplotlib().figure.Figure(figsize=size)


def given_or_new(ax: Any) -> Any:
    return figure()[1] if ax is None else axes_named("ax", ax)


def axes_named(name: str, ax: Any) -> Any:
    """The axes that were given as this argument; a ValueError if they are none."""
    if isinstance(ax, type) or not hasattr(ax, "plot"):
        raise refusal(name, ax, "", "axes of matplotlib, or None")
    return ax


def legend(ax: Any, **options) -> None:
    ax.legend(fontsize="small", frameon=False, **options)


def cut_spikes(ax: Any, values: np.ndarray) -> None:
    """Limits to what the currents are most of the time, where a short spike would flatten the rest; says so."""
    low, high = values.min(), values.max()
    usual = np.percentile(values, [0.5, 99.5], axis=1)
    inner = np.array([usual[0].min(), usual[1].max()])
    room = 0.25 * np.ptp(inner)
    if high - low > 3 * np.ptp(inner) > 0:
        ax.set_ylim(inner[0] - room, inner[1] + room)
        low, high = (0.0 if abs(x) < 1e-3 * (high - low) else x for x in (low, high))
        ax.set_title(f"spikes from {low:.3g} to {high:.3g} are cut off", loc="left", fontsize="small", color=INK)


def dose_axis(ax: Any, drug: str, doses: Sequence[float] | np.ndarray) -> None:
    """Equally spaced doses, so that 0 is on the axis."""
    ax.set_xticks(np.arange(len(doses)), [f"{dose:g}" for dose in doses])
    ax.set_xlabel(f"{drug} (nM)")


def pretty(name: str) -> str:
    """I_CaL -> I with a subscript."""
    head, _, tail = name.partition("_")
    return rf"${head}_{{\mathrm{{{tail.replace('_', ',')}}}}}$" if tail else name
