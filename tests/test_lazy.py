"""Names are imported when they are used: all of them are there, and what needs no JAX does not start it."""

import ast
import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcardio as jc
from jaxcardio import plot

PACKAGES = [jc, plot]


def tables(package) -> dict[str, str | None]:
    return dict.fromkeys(package._MODULES) | package._MODULE_OF


@pytest.mark.parametrize("package", PACKAGES)
def test_the_imports_for_type_checkers_say_the_same(package):
    tree = ast.parse(Path(package.__file__).read_text())
    (block,) = (x for x in tree.body if isinstance(x, ast.If) and ast.unparse(x.test) == "TYPE_CHECKING")
    typed = {x.names[0].asname: x.module for x in block.body if isinstance(x, ast.ImportFrom)}
    assert typed == tables(package)


@pytest.mark.parametrize(("package", "name"), [(p, n) for p in PACKAGES for n in tables(p)])
def test_every_name_is_what_its_module_defines(package, name):
    module = tables(package)[name]
    defined = importlib.import_module(f"{package.__name__}.{module or name}")
    assert getattr(package, name) is (getattr(defined, name) if module else defined)
    assert name in dir(package)
    assert name in package.__all__


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        jc.simulat  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    with pytest.raises(ImportError):
        exec("from jaxcardio import nothing_of_that_name")


def test_the_function_simulate_stays_one_and_is_pickled_by_name():
    importlib.import_module("jaxcardio.simulation.simulate")
    importlib.import_module(jc.simulate.__module__)
    assert callable(jc.simulate)
    assert pickle.loads(pickle.dumps(jc.simulate)) is jc.simulate
    assert pickle.loads(pickle.dumps(jc.Status.OK)) is jc.Status.OK
    everything = {}
    exec("from jaxcardio import *", everything)
    assert everything["simulate"] is jc.simulate
    assert set(tables(jc)) <= set(everything)


def modules_after(code: str) -> set[str]:
    code += "\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["models"],
        ["--help"],
        ["--version"],
        ["simulate", "--help"],
        ["dance"],
        ["models", "heart"],
        ["simulate", "tentusscher", "--t1", "5s"],
        ["dataset", "make"],
    ],
)
def test_neither_lists_nor_help_nor_wrong_arguments_start_jax(arguments):
    loaded = modules_after(f"from jaxcardio.__main__ import main; main({arguments})")
    assert not loaded & {"jax", "jaxlib", "numpy", "h5py", "matplotlib"}


def test_what_most_programs_use_imports_no_more_than_that():
    names = ("models", "protocols", "simulate", "biomarkers", "pharmacology")
    loaded = modules_after(f"import jaxcardio as jc; [getattr(jc, name) for name in {names}]")
    beside = {"matplotlib", "jaxcardio.hidden_state", "jaxcardio.twin", "jaxcardio.population", "jaxcardio.training"}
    beside |= {"jaxcardio.intracellular"}
    assert not loaded & beside
    assert not any(name.startswith("optax.contrib") for name in loaded - modules_after("import diffrax"))
