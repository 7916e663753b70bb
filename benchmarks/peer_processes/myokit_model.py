"""A model as Myokit's tissue simulations want it: with a diffusion current, and the potential labelled."""

from pathlib import Path
from typing import Any

import myokit

FOLDER = Path(__file__).resolve().parents[1]
FILES = {"TT2004 epi": "ten_tusscher.mmt", "TP06 epi": "ten_tusscher_panfilov.mmt"}


def model(name: str, file: str | None = None) -> Any:
    """`name` of FILES, or that of any `.mmt` file in pA/pF whose pacing variable is bound to `pace`.

    Level 1 of the pacing is the stimulus of that file: 52 pA/pF in ours.
    """
    found = myokit.load_model(file or str(FOLDER / FILES[name]))
    if name == "TT2004 epi":  # the file is the M cell
        found.set_value("potassium.g_Ks", 0.245)
    V = found.label("membrane_potential") or found.get("membrane.V")
    if found.label("membrane_potential") is None:
        V.set_label("membrane_potential")
    current = V.parent().add_variable("I_diffusion", rhs=0)
    current.set_binding("diffusion_current")
    V.set_rhs(f"{V.rhs().code()} - I_diffusion")
    return found


def pacing(level: float, duration: float) -> Any:
    """A pulse at time 0."""
    protocol = myokit.Protocol()
    protocol.schedule(level, 0, duration)
    return protocol
