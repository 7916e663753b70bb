"""Tissue: cables, sheets and slabs of any cell, their waves, and what is measured of them."""

from .conductivity import conductivity_of as conductivity_of
from .conductivity import diffusivity_of as diffusivity_of
from .conductivity import monodomain_conductivity as monodomain_conductivity
from .fitting import ConductivityFit as ConductivityFit
from .fitting import fit_conductivity as fit_conductivity
from .grid import Tissue as Tissue
from .inverse import TunedConductivity as TunedConductivity
from .inverse import conductivity_for as conductivity_for
from .run import Run as Run
from .simulate import simulate as simulate
from .stimulus import Stimulus as Stimulus
