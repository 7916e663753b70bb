"""The sodium channel learned: the published network, surrogates that work, their rivals and their evaluation."""

from .clamp_data import ActionPotentials as ActionPotentials
from .clamp_data import Clamps as Clamps
from .clamp_data import action_potentials as action_potentials
from .clamp_data import voltage_clamps as voltage_clamps
from .flow_map import FlowMap as FlowMap
from .library import load as load
from .library import save as save
from .losses import chain_rule_residual as chain_rule_residual
from .losses import semigroup_residual as semigroup_residual
from .losses import time_domain_residual as time_domain_residual
from .markov_flow import MarkovFlow as MarkovFlow
from .markov_flow import MarkovTraining as MarkovTraining
from .markov_flow import train_markov_flow as train_markov_flow
from .rates import RateSurrogate as RateSurrogate
from .table import RateTable as RateTable
from .train import Training as Training
from .train import train_flow_map as train_flow_map
from .train import train_rates as train_rates
