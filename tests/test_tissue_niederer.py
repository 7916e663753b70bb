"""The slab of Niederer et al. 2011 (doi 10.1098/rsta.2010.0139), as the benchmark runs it, at 0.2 mm."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
DT = 0.02
"""ms; the published figures are for 0.005 and 0.01."""


@pytest.fixture(scope="module")
def niederer():
    """The benchmark's module."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("tissue_niederer")
    sys.path.remove(str(FOLDER))


def test_the_set_up_is_the_published_one(niederer):
    along, across = niederer.conductivities()
    assert along == pytest.approx(0.1334177, rel=1e-6)
    assert across == pytest.approx(0.0176062, rel=1e-5)
    slab = niederer.slab(0.2)
    assert slab.shape == (15, 35, 100)
    assert niederer.stimulus(slab).cells(slab.shape).sum() == 8**3
    assert float(slab.initial_state().V[0, 0, 0]) == -85.23
    times = sum(np.meshgrid(*slab.centres(), indexing="ij"))  # linear in space: known at every point
    np.testing.assert_allclose(niederer.at_points(times, slab), [sum(p) for p in niederer.POINTS], atol=1e-9)


@pytest.mark.slow
def test_all_nine_points_at_two_tenths_of_a_millimetre(niederer):
    """Within 2 % of the finite-volume code, or half a cell of travel, or 0.05 ms at the origin; and of the eleven.

    Not 1 %: along x that code is 1.4 % slower than this one, which is within 0.05 % of Myokit's cable on this mesh.
    """
    result = niederer.run_slab(0.2, DT)
    assert all("jumps from cell to cell" in text for text in result["problems"])  # across the fibres: it is so coarse
    for k, row in enumerate(niederer.rows_of(result)):
        allowed = 0.05 if k == 0 else max(0.02 * row["finite_volume"], row["half_a_cell"])
        assert abs(row["apart"]) <= allowed, row
        assert abs(row["ours"] - row["mean"]) <= row["spread"], row
