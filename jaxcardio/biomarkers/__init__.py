"""Action potentials in a potential trace: when they happen, how long they last, what is wrong with them.

Two steps. The first *finds*: integer positions of each beat's rest, steepest rise, peak and crossings, without
gradient. The second *measures*: every number is a formula in the few samples at those positions, so the gradient of,
say, an APD90 with respect to V is the exact derivative of that formula, and never NaN where there is a beat.

Definitions (Section 0 of the reference data):

    t_upstroke   time of the largest dV/dt of the upstroke (the stimulus current included)
    dvdt_max     that dV/dt, mV/ms = V/s
    rmp          V at the stimulus onset where onsets are given; else the lowest V between the previous upstroke and
                 this one, which is the maximum diastolic potential (for the first beat: since the trace began)
    peak, apa    highest V of the beat; peak - rmp
    APDx         from t_upstroke to the first later fall through peak - x/100 apa
    cycle_length from the previous upstroke to this one

Of a recording (a trace without a cell) the same numbers are estimated in spite of its noise. The noise, its spectrum
and mains hum are taken from the trace itself (`noise`, `hum`), and the hum is taken out. Beats are found in means that
are long enough for the noise. The upstroke is sought about the rise that the detector saw. Every number then comes
from a polynomial through the samples about its place (`landmarks`, `local`): the widest that agrees with narrower ones
within the noise, narrowed by about a half. So there `peak` and `rmp` are not the extremes of samples, which carry the
extremes of the noise, but those of the curve through them. Each has a standard error
(`ActionPotentials.standard_error`) from the noise's spectrum, from what narrower fits say otherwise, and from what
samples that far apart cannot show. What a gap, a limit of the amplifier or too much noise hides is NaN with a `Reason`.
Where the noise is no more than rounding, numbers are those of the plain formulas.
"""

from .action_potentials import ActionPotentials as ActionPotentials
from .action_potentials import action_potentials as action_potentials
from .action_potentials import action_potentials_from as action_potentials_from
from .detection import FIRE as FIRE
from .detection import RE_ARM as RE_ARM
from .detection import REST_QUANTILE as REST_QUANTILE
from .detection import Positions as Positions
from .noise import Noise as Noise
from .reasons import REASON_TEXTS as REASON_TEXTS
from .reasons import Reason as Reason
from .sampling import REST_SAMPLES as REST_SAMPLES
from .sequences import Alternans as Alternans
from .sequences import Restitution as Restitution
from .sequences import alternans as alternans
from .sequences import capture_ratio as capture_ratio
from .sequences import restitution as restitution
from .sequences import restitution_slope as restitution_slope
from .soft import soft_apd as soft_apd
