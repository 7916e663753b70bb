"""Random integers as functions of (version, seed, stream, index): no state, no order, the same on every machine.

Everything is whole numbers of 32 bits in numpy, so that neither the floating-point mode, the device, nor a setting of
JAX changes a cell, and nothing has to be compiled.
"""

import functools
import zlib

import numpy as np
from jaxtyping import Int, UInt32

VERSION = 1
"""Changes whenever the same (seed, i) would give another cell."""

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
FEISTEL_ROUNDS = 8

Words = UInt32[np.ndarray, " n"]


def random_words(seed: int, stream: str, indices: Int[np.ndarray, " n"]) -> Words:
    """32 random bits for each index of a named stream, shape (n,).

    They are those of `jax.random`: `bits` of a key that VERSION, the CRC-32 of the stream's name and the index have
    been folded into, in its present (partitionable) form.
    """
    key = _words(0), _words(seed)
    for number in (VERSION, zlib.crc32(stream.encode())):
        key = _threefry(key, _words(0), _words(number))
    high, low = _threefry(key, _words(0), np.asarray(indices, np.uint32))
    high, low = _threefry((high, low), _words(0), _words(0))
    return high ^ low


def permuted(seed: int, stream: str, indices: Int[np.ndarray, " n"], size: int) -> Int[np.ndarray, " n"]:
    """Where a keyed pseudo-random permutation of 0 .. size - 1 sends each index; no table is made.

    A Feistel network permutes the next power of four; a place beyond `size` is sent on until it falls below (cycle
    walking; Black and Rogaway 2002, doi 10.1007/3-540-45760-7_9), in less than four passes on average.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = random_words(seed, stream, np.arange(FEISTEL_ROUNDS))
    place = _feistel(np.asarray(indices, np.uint64), keys, half)
    while (outside := place >= size).any():
        place[outside] = _feistel(place[outside], keys, half)
    return place.astype(np.int64)


def _feistel(place: np.ndarray, keys: Words, half: int) -> np.ndarray:
    mask = np.uint64(2**half - 1)
    left, right = place >> np.uint64(half), place & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right.astype(np.uint32) ^ key).astype(np.uint64) & mask)
    return (left << np.uint64(half)) | right


def _mixed(x: Words) -> Words:
    """A bijection of 32-bit words in which every bit depends on every other: the finaliser of MurmurHash3."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def sobol_points(indices: Int[np.ndarray, " n"], dimensions: int) -> UInt32[np.ndarray, "n dimensions"]:
    """Points of the Sobol sequence (unscrambled, in the order of scipy's), in units of 2^-32.

    The first call takes time in proportion to the largest index: 0.1 s for a million in 52 dimensions.
    """
    gray = np.asarray(indices, np.uint64)
    gray = gray ^ (gray >> np.uint64(1))
    points = np.zeros((len(gray), dimensions), np.uint32)
    for bit, direction in enumerate(_sobol_directions(dimensions, int(gray.max()).bit_length())):
        points[(gray >> np.uint64(bit)) & np.uint64(1) == 1] ^= direction
    return points


@functools.cache
def _sobol_directions(dimensions: int, count: int) -> UInt32[np.ndarray, "count dimensions"]:
    """The first direction numbers: point 2^j of the sequence is direction j exclusive-or direction j - 1."""
    from scipy.stats import qmc  # half a second to import, and only these designs need it

    sequence = qmc.Sobol(dimensions, scramble=False, bits=32)
    directions = np.zeros((count, dimensions), np.uint32)
    for j in range(count):
        sequence.fast_forward(2**j - sequence.num_generated)
        point = np.round(sequence.random(1)[0] * 2.0**32).astype(np.uint32)
        directions[j] = point ^ directions[j - 1] if j else point
    return directions


def owen_scrambled(seed: int, stream: str, points: Words) -> Words:
    """One coordinate with its binary tree randomly swapped at every node (Owen 1995): keeps dyadic intervals full.

    Whether a bit is flipped depends on the bits above it, which name the node.
    """
    scrambled, node = np.zeros_like(points), np.zeros_like(points)
    for level, key in enumerate(random_words(seed, stream, np.arange(32))):
        bit = (points >> np.uint32(31 - level)) & np.uint32(1)
        flip = _mixed(node ^ key) >> np.uint32(31)
        scrambled = (scrambled << np.uint32(1)) | (bit ^ flip)
        node = (node << np.uint32(1)) | bit
    return scrambled


def _threefry(key: tuple[Words, Words], x0: Words, x1: Words) -> tuple[Words, Words]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, doi 10.1145/2063384.2063405)."""
    keys = (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for i in range(5):
        for rotation in ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))) ^ x0
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1


def _words(number: int) -> Words:
    return np.array([number], np.uint32)
