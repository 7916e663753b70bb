"""Tissue: cables, sheets and slabs of any cell, their waves, and what is measured of them."""

from .conductivity import conductivity_of as conductivity_of
from .conductivity import diffusivity_of as diffusivity_of
from .conductivity import monodomain_conductivity as monodomain_conductivity
from .cost import Cost as Cost
from .cost import cost as cost
from .grid import Tissue as Tissue
from .recording import Record as Record
from .recording import open_record as open_record
from .recording import record as record
from .run import Run as Run
from .simulate import simulate as simulate
from .stimulus import Stimulus as Stimulus
