"""Voltage-clamp protocols that tell most about a cell: designed step by step, refined by gradient, and comparators.

The judge is the posterior that a recording would leave: with J the Jacobian of the observed current with respect to
theta, W the inverse variances of the observations and sd the standard deviation of the prior, its covariance is
(J^T W J + I / sd^2)^-1 by linearisation. "A" is the expected mean square error, the mean of that covariance's diagonal;
"D" the logarithm of its determinant over the prior's.
"""

from .criteria import NULL_DIRECTIONS as NULL_DIRECTIONS
from .criteria import SIGMA as SIGMA
from .criteria import SPREAD as SPREAD
from .criteria import criterion as criterion
from .criteria import expected_covariance as expected_covariance
from .criteria import floor as floor
from .gradient import refine_by_gradient as refine_by_gradient
from .operator import from_operator_json as from_operator_json
from .operator import to_operator_json as to_operator_json
from .search import Design as Design
from .search import design_by_information as design_by_information
from .search import design_by_network as design_by_network
from .steps import DESIGNED as DESIGNED
from .steps import HOLD as HOLD
from .steps import LENGTH as LENGTH
from .steps import LEVELS as LEVELS
from .steps import PROBE as PROBE
from .steps import PROBE_AT as PROBE_AT
from .steps import STEP as STEP
from .steps import Space as Space
from .steps import designed as designed
from .steps import herg_staircase as herg_staircase
from .steps import iv_staircase as iv_staircase
from .steps import random_steps as random_steps
