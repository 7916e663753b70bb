"""Tissue: cables, sheets and slabs of any cell, their waves, and what is measured of them."""

from .conductivity import conductivity_of as conductivity_of
from .conductivity import diffusivity_of as diffusivity_of
from .conductivity import monodomain_conductivity as monodomain_conductivity
from .cost import Cost as Cost
from .cost import cost as cost
from .grid import Tissue as Tissue
from .measure.electrogram import bipolar_electrogram as bipolar_electrogram
from .measure.electrogram import electrogram as electrogram
from .measure.phase import Singularities as Singularities
from .measure.phase import TipPath as TipPath
from .measure.phase import dominant_frequency as dominant_frequency
from .measure.phase import period as period
from .measure.phase import phase_map as phase_map
from .measure.phase import phase_singularities as phase_singularities
from .measure.phase import tip_paths as tip_paths
from .measure.velocity import apd_map as apd_map
from .measure.velocity import conduction_velocity as conduction_velocity
from .measure.velocity import velocity_map as velocity_map
from .recording import Record as Record
from .recording import open_record as open_record
from .recording import record as record
from .run import Run as Run
from .simulate import simulate as simulate
from .stimulus import Stimulus as Stimulus
