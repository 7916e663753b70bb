"""Alternans: what alternates is found beside any drift, and nothing else is taken for it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio.biomarkers import alternans

LENGTH = st.integers(4, 40)
SIZE = st.floats(-80.0, 80.0)
DRIFT = st.floats(-10.0, 10.0)
APD = st.floats(100.0, 600.0)


def of(apd90, **options):
    return alternans(SimpleNamespace(apd90=np.asarray(apd90, float)), **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("apd90", "difference", "alternates"),
    [
        ([300, 280, 260, 240, 220], 0.0, False),
        ([300, 300, 300, 340, 300, 300], 0.0, False),
        ([300, 320, 300, 320, 300, 320], 20.0, True),
        ([300, 320, np.nan, 320, 300, 320, 300], 20.0, True),
        ([300, np.nan, 300, np.nan, 300, np.nan], np.nan, False),  # 2:1 block
        ([300, 320, 300], np.nan, False),  # one odd beat, or alternans: three beats do not say
        ([], np.nan, False),
    ],
)
def test_known_beats(apd90, difference, alternates):
    found = of(apd90)
    np.testing.assert_allclose(found.difference, difference, atol=1e-9)
    assert bool(found.alternates) is alternates


@settings(deadline=None, max_examples=60)
@given(LENGTH, APD, DRIFT, SIZE)
def test_alternans_of_any_size_beside_any_drift(n, apd, drift, size):
    k = np.arange(n)
    np.testing.assert_allclose(of(apd + drift * k + size / 2 * (-1.0) ** k).difference, abs(size), atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(st.data(), LENGTH, APD, DRIFT, SIZE)
def test_one_odd_beat_anywhere_is_no_alternans(data, n, apd, drift, size):
    beats = apd + drift * np.arange(n)
    beats[data.draw(st.integers(0, n - 1))] += size
    np.testing.assert_allclose(of(beats).difference, 0.0, atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(8, 40), APD, DRIFT, SIZE)
def test_missing_beats_change_nothing_that_can_be_told(data, n, apd, drift, size):
    k = np.arange(n)
    missing = data.draw(st.lists(st.integers(0, n - 1), max_size=n - 4, unique=True))
    beats = apd + drift * k + size / 2 * (-1.0) ** k
    beats[missing] = np.nan
    known = k[np.isfinite(beats)] % 2
    told = (known == 0).sum() >= 2 and (known == 1).sum() >= 2
    np.testing.assert_allclose(of(beats).difference, abs(size) if told else np.nan, atol=1e-7)


def test_the_same_under_jit_vmap_and_in_float32():
    rows = np.array([[300.0, 320.0] * 5, 300.0 - 3 * np.arange(10), [300.0] * 9 + [350.0], [300.0, np.nan] * 5])

    @jax.jit
    @jax.vmap
    def compiled(x):
        return alternans(SimpleNamespace(apd90=x))  # pyright: ignore[reportArgumentType]

    for dtype, atol in ((jnp.float64, 1e-9), (jnp.float32, 1e-3)):
        found = compiled(jnp.asarray(rows, dtype))
        np.testing.assert_allclose(found.difference, [20.0, 0.0, 0.0, np.nan], atol=atol)
        assert found.difference.dtype == dtype
        assert found.alternates.tolist() == [True, False, False, False]
    np.testing.assert_allclose(of(rows).difference, [20.0, 0.0, 0.0, np.nan], atol=1e-9)
