"""Electrodes: what one picks up of a cell, a cable or a sheet, its circuit, its noise, and the devices they make up."""

from .circuit import high_pass as high_pass
from .circuit import low_pass as low_pass
from .devices import DEVICES as DEVICES
from .devices import Channel as Channel
from .devices import Device as Device
from .devices import device_named as device_named
from .noise import Noise as Noise
from .noise import NoiseSource as NoiseSource
from .seal import Electroporation as Electroporation
from .seal import Seal as Seal
from .seal import field_potential as field_potential
