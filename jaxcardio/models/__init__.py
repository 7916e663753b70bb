from .ten_tusscher import TenTusscher2004 as TenTusscher2004
