"""A small reader of CellML 1.0 models: their MathML becomes Python, which numpy or math evaluates.

It knows the operators of the ten Tusscher & Panfilov 2006 files and trusts that a name means the same in every
component, as it does there (`Model` checks that each has one definition).
"""

import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

BETWEEN = {"plus": "+", "minus": "-", "times": "*", "divide": "/", "power": "**", "and": "&", "or": "|"}
COMPARED = {"lt": "<", "leq": "<=", "gt": ">", "geq": ">=", "eq": "=="}
CALLED = {"exp": "exp", "ln": "log", "root": "sqrt", "floor": "floor"}
OFFERED = {*CALLED.values(), "where"}


def tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def python_of(element: ElementTree.Element) -> str:
    """A MathML expression as Python."""
    kind = tag(element)
    if kind == "ci":
        return (element.text or "").strip()
    if kind == "cn":  # <cn type="e-notation">1<sep/>-6</cn>
        exponents = [(part.tail or "").strip() for part in element]
        return "e".join([(element.text or "").strip(), *exponents])
    if kind == "piecewise":
        *pieces, otherwise = element
        text = python_of(otherwise[0])
        for piece in reversed(pieces):
            text = f"where({python_of(piece[1])}, {python_of(piece[0])}, {text})"
        return text
    if kind != "apply":
        raise ValueError(f"unknown element {kind}")
    operator, *operands = element
    name, values = tag(operator), [python_of(x) for x in operands]
    if name == "minus" and len(values) == 1:
        return f"(-{values[0]})"
    if name in BETWEEN:
        return "(" + f" {BETWEEN[name]} ".join(values) + ")"
    if name in COMPARED:
        return f"({values[0]} {COMPARED[name]} {values[1]})"
    (value,) = values
    return f"{CALLED[name]}({value})"


class Model:
    """The equations of a file, or of some of its components.

    Attributes:
        constants, initial: numbers by name; `initial` is of the states, in the file's order.
        equations: right side of each algebraic variable, as Python.
        slopes: right side of each state's derivative, as Python.
    """

    def __init__(self, path: Path, components: Collection[str] | None = None):
        root = ElementTree.parse(path).getroot()
        wanted = [x for x in root if tag(x) == "component" and (components is None or x.attrib["name"] in components)]
        elements = [x for component in wanted for x in component.iter()]
        given = {
            x.attrib["name"]: float(x.attrib["initial_value"])
            for x in elements
            if tag(x) == "variable" and "initial_value" in x.attrib
        }
        self.equations: dict[str, str] = {}
        self.slopes: dict[str, str] = {}
        for equation in (x for m in elements if tag(m) == "math" for x in m):
            _, left, right = equation
            is_slope = tag(left) == "apply"
            name = python_of(left[-1] if is_slope else left)
            target = self.slopes if is_slope else self.equations
            assert name not in target
            target[name] = python_of(right)
        self.initial = {n: given[n] for n in given if n in self.slopes}
        self.constants = {n: given[n] for n in given if n not in self.slopes}
        assert self.slopes.keys() == self.initial.keys()
        assert not self.equations.keys() & given.keys()

    def compiled(self, functions: Any, inputs: tuple[str, ...] = ()) -> Callable[..., dict[str, Any]]:
        """Function of the states and `inputs`, by name: every variable; that of a derivative is `d_<state>`.

        Args:
            functions: where exp, log, sqrt, floor and where come from.
            inputs: variables that are given instead of computed.
        """
        lines = [f"{n} = {value!r}" for n, value in self.constants.items() if n not in inputs]
        known = {*self.constants, *self.initial, *inputs, "time"}
        waiting = {n: text for n, text in self.equations.items() if n not in inputs}
        while waiting:
            names_in = {n: set(compile(text, n, "eval").co_names) - OFFERED for n, text in waiting.items()}
            ready = [n for n in waiting if names_in[n] <= known]
            assert ready, f"circular: {sorted(waiting)}"
            lines += [f"{n} = {waiting.pop(n)}" for n in ready]
            known |= set(ready)
        lines += [f"d_{n} = {text}" for n, text in self.slopes.items()]
        code = compile("\n".join(lines), "CellML", "exec")
        offered = {n: getattr(functions, n) for n in OFFERED}

        def evaluate(**values) -> dict[str, Any]:
            found = {**offered, **values}
            exec(code, found)
            return found

        return evaluate


class OfNumbers:
    """Functions of single numbers, which take a tenth of the time of numpy's."""

    exp, log, sqrt, floor = math.exp, math.log, math.sqrt, math.floor

    @staticmethod
    def where(condition, yes, no):
        return yes if condition else no


class Pulses(NamedTuple):
    """Stimulus current from `start` on, every `period`, for `duration` (ms), in the unit of the file's `i_Stim`."""

    amplitude: float = -52.0
    duration: float = 1.0
    period: float = 1000.0
    start: float = 10.0


def paced(model: Model, pulses: Pulses, until: float, every: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) from 0 to `until` (ms) and states (n, states) there, by LSODA at 1e-10, restarted at each edge."""
    evaluate = model.compiled(OfNumbers, ("i_Stim",))
    names = list(model.initial)

    def slopes(t, y, i_stim):
        found = evaluate(time=t, i_Stim=i_stim, **dict(zip(names, y.tolist(), strict=True)))
        return [found[f"d_{n}"] for n in names]

    onsets = np.arange(pulses.start, until, pulses.period)
    edges = np.unique(np.clip([0.0, *onsets, *(onsets + pulses.duration), until], 0.0, until))
    ts = np.arange(0.0, until + every / 2, every)
    ys = np.empty((ts.size, len(names)))
    y = np.array(list(model.initial.values()))
    for t0, t1 in itertools.pairwise(edges):
        on = np.any((onsets <= t0) & (t0 < onsets + pulses.duration))
        inside = (ts >= t0) & (ts <= t1)
        run = solve_ivp(
            slopes, (t0, t1), y, "LSODA", t_eval=np.unique([*ts[inside], t1]), rtol=1e-10, atol=1e-12,
            args=(pulses.amplitude if on else 0.0,),
        )  # fmt: skip
        assert run.success, run.message
        ys[inside] = run.y.T[: inside.sum()]
        y = run.y[:, -1]
    return ts, ys
