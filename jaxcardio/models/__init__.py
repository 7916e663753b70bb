from .aliev_panfilov import AlievPanfilov1996 as AlievPanfilov1996
from .aliev_panfilov import AlievPanfilovModified as AlievPanfilovModified
from .kernik_clancy import KernikClancy2019 as KernikClancy2019
from .skibsbye import Skibsbye2016 as Skibsbye2016
from .sodium_gating import AbstractSodiumGating as AbstractSodiumGating
from .sodium_gating import SkibsbyeSodiumGating as SkibsbyeSodiumGating
from .sodium_gating import SodiumRelaxations as SodiumRelaxations
from .ten_tusscher import TenTusscher2004 as TenTusscher2004
