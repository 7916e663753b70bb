"""What one time step is in a compiled program: its kernels, and the bytes they move, read off XLA's text."""

import re
from collections import Counter
from typing import NamedTuple

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
"""Instructions that launch nothing."""
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*)$")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{$")
ARRAY = re.compile(r"([a-z]+)(\d*)\[([\d,]*)\]")


class Instruction(NamedTuple):
    name: str
    shape: str
    kind: str
    rest: str

    def called(self, role: str) -> list[str]:
        return re.findall(rf"{role}=%?([\w.-]+)", self.rest)

    def operands(self) -> list[str]:
        return re.findall(r"%([\w.-]+)", self.rest.split("), ")[0])


class Step(NamedTuple):
    """The innermost loop over time.

    kernels: launches a step. kinds: how many of each kind of instruction. bytes_per_cell: what they read and write of
    arrays over cells, each operand and result once (of arrays kept over several steps, one row).
    """

    kernels: int
    kinds: dict[str, int]
    bytes_per_cell: float


def step_of(text: str, n: int) -> Step:
    """The step in a program (XLA's text, optimised) for n cells."""
    computations = _computations(text)
    whiles = [i for some in computations.values() for i in some if i.kind == "while"]
    bodies = [_inlined(computations, body) for loop in whiles for body in loop.called("body")]
    innermost = [body for body in bodies if all(i.kind != "while" for i in body)]
    if not innermost:
        return Step(0, {}, 0.0)
    step = max(innermost, key=lambda body: sum(map(_launches, body)))
    shapes = {i.name: i.shape for i in step}
    moved = 0.0
    for i in filter(_launches, step):
        moved += _bytes_per_cell(i.shape, n) + sum(_bytes_per_cell(shapes.get(o, ""), n) for o in i.operands())
    kinds = Counter(i.kind for i in step if _launches(i))
    return Step(kinds.total(), dict(kinds.most_common()), moved)


def _computations(text: str) -> dict[str, list[Instruction]]:
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if begun := COMPUTATION.match(line):
            current = found.setdefault(begun[1], [])
        elif instruction := INSTRUCTION.match(line):
            current.append(Instruction(*instruction.groups()))
    return found


def _inlined(computations: dict[str, list[Instruction]], name: str) -> list[Instruction]:
    """The instructions of a computation, those of the computations it calls in their place (so are CUDA graphs)."""
    found: list[Instruction] = []
    for i in computations.get(name, []):
        inner = [x for called in i.called("to_apply") for x in _inlined(computations, called)]
        found += inner if i.kind == "call" else [i]
    return found


def _launches(i: Instruction) -> bool:
    return i.kind not in FREE and not i.kind.endswith("-done")


def _bytes_per_cell(shape: str, n: int) -> float:
    """Of the arrays in a shape that have an axis over the cells."""
    sizes = (int(bits or 8) / 8 for _, bits, dims in ARRAY.findall(shape) if str(n) in dims.split(","))
    return sum(sizes)
