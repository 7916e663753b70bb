"""A cell whose action potential is so brief that a spiral wave turns in a small sheet."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..annotations import typed
from ..arguments import refusal
from ..models.ten_tusscher_panfilov import TenTusscherPanfilov2006

BRIEF: Mapping[str, float] = MappingProxyType({"g_Na": 0.5, "g_CaL": 0.0, "g_K1": 3.0, "g_Kr": 20.0})
"""What the conductances are multiplied by."""


@typed
def brief(cell: TenTusscherPanfilov2006, keep: Sequence[str] = ()) -> TenTusscherPanfilov2006:
    """The cell with half of its sodium conductance, no L-type calcium current, three times I_K1 and twenty times I_Kr.

    Its action potential lasts 37 to 39 ms in place of 300 ms, and its waves run at 0.51 mm/ms where D is 0.154 mm^2/ms
    (on a grid of 0.25 mm). So they are 20 mm long in place of 200 mm, and a spiral turns in 30 x 30 mm. It is there to
    show re-entry in little time, and no model of any tissue.

    Args:
        cell: whose conductances are multiplied (`BRIEF`).
        keep: names of those that are left as they are.

    Raises:
        ValueError: `keep` has a name that is none of them.
    """
    for name in keep:
        if name not in BRIEF:
            raise refusal("keep", name, "", f"of {', '.join(BRIEF)}")
    return cell.replace(
        **{name: np.asarray(getattr(cell, name)) * share for name, share in BRIEF.items() if name not in keep}
    )
