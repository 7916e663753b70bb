"""Stimuli (pA/pF, depolarising negative) and voltage commands (mV): a value at every time, and where the edges are.

Times are in ms. Every protocol is right-continuous: at an edge it already has its new value. Edges are the times no
solver may step over; `simulate` puts them on its grid, and adaptive solvers stop at the corners besides. Values may be
traced and differentiated; times must be concrete where `simulate` builds the grid itself (pass `grid=` to differentiate
through times). Times are exact to `clock.RESOLUTION` wherever they lie; `since` counts them from the start of a run.
"""

from .base import AbstractProtocol as AbstractProtocol
from .base import Kind as Kind
from .base import Number as Number
from .base import Shifted as Shifted
from .commands import Constant as Constant
from .commands import Sampled as Sampled
from .commands import Segments as Segments
from .commands import VoltageSteps as VoltageSteps
from .commands import voltage_ramp as voltage_ramp
from .compositions import Plus as Plus
from .compositions import Repeat as Repeat
from .compositions import Then as Then
from .pulses import Pulses as Pulses
from .pulses import PulseTrain as PulseTrain
from .pulses import dynamic_restitution as dynamic_restitution
from .pulses import s1_s2 as s1_s2
from .text import KINDS as KINDS
from .text import from_json as from_json
from .text import to_json as to_json
