"""Junk for every option of every verb: exit 2, and one line that names the option. No case runs a cell."""

import argparse

import pytest

from jaxcardio.__main__ import main
from jaxcardio.cli.arguments import parser
from jaxcardio.cli.arguments.intracellular import hertz, minutes, seconds
from jaxcardio.cli.arguments.shared import kelvin, model_name, ms, mV, nM, plain, whole
from jaxcardio.cli.arguments.tissue import degrees, diffusivity, mm, siemens

NUMBERS = (ms, mV, nM, kelvin, plain, mm, diffusivity, siemens, degrees, seconds, minutes, hertz)
POSITIONALS = {
    "simulate": ["tentusscher"],
    "drug": ["E-4031"],
    "biomarkers": ["nofile.csv"],
    "population simulate": ["p.h5"],
    "population plot": ["nofile.h5"],
    "dataset make": ["data"],
    "dataset resume": ["data"],
    "dataset verify": ["data"],
    "dataset info": ["data"],
    "twin": ["nofile.h5"],
    "hidden-state example": ["o.h5"],
    "hidden-state retrain": ["nofile.h5"],
    "hidden-state explain": ["nofile.h5"],
    "sodium train": ["rates"],
    "sodium evaluate": ["exact"],
    "intracellular synthesize": ["o.h5"],
    "intracellular reconstruct": ["nofile.h5"],
    "intracellular evaluate": ["nofile.h5"],
    "intracellular monitor": ["nofile.h5"],
}
OUTSIDE = {
    "--t1": ["-5", "0", "inf", "1e300", "1e-12"],
    "--dt": ["-0.1", "0", "inf"],
    "--save-every": ["-1", "0", "inf"],
    "--rtol": ["-1", "0", "inf", "1e-18"],
    "--cells": ["0", "-3", "1000000000000"],
    "--seed": ["-1", "1099511627776"],
    "--spread": ["-1", "1.5", "inf"],
    "--log-normal": ["-1", "inf"],
    "--latin-hypercube": ["-1", "1.5"],
    "--sobol": ["-1", "1.5"],
    "--temperature": ["37", "-1", "inf"],
    "--doses": ["-5", "inf"],
    "--duration": ["0", "-1", "inf"],
    "--period": ["0", "-1"],
    "--start": ["inf", "1e30"],
    "--pulse-amplitude": ["inf"],
    "--chunk": ["0", "-1"],
    "--shard": ["0", "-1"],
    "--epochs": ["0", "-1"],
    "--starts": ["0"],
    "--draws": ["0"],
    "--min-beats": ["-1"],
    "--noise": ["-1"],
    "--screen-t1": ["0", "-1"],
    "--screen-discard": ["-1", "1e9"],
    "--discard": ["-1", "1e9"],
    "--dx": ["0", "-0.1", "inf", "1e-9"],
    "--length": ["0", "-1", "inf", "1e9", "0.01"],
    "--width": ["0", "-1", "inf", "1e9"],
    "--height": ["0", "-1", "inf", "1e9"],
    "--depth": ["0", "-1", "inf", "1e9"],
    "--size": ["0", "-1", "inf", "1e9"],
    "--diffusivity": ["0", "-1", "inf"],
    "--conductivity": ["0", "-1", "inf"],
    "--across": ["0", "-1", "inf"],
    "--fibres": ["inf", "361"],
    "--region": ["0", "-1", "1e3", "inf"],
    "--cycle-length": ["0", "-1", "inf", "1"],
    "--beats": ["0", "-1"],
    "--prepaced": ["-1"],
    "--s2": ["0", "-1", "inf", "1e6"],
    "--ablate-at": ["0", "-1", "inf", "1e6"],
    "--channels": ["0", "-1", "100000"],
    "--minutes": ["0", "-1", "inf", "1e9"],
    "--nM": ["-1", "inf"],
    "--added-at": ["-1", "inf"],
    "--electroporated-at": ["-1", "inf", "1e9"],
    "--pairs": ["0", "-1"],
    "--beta": ["-1", "inf"],
    "--solver-weight": ["-1", "inf"],
    "--begin": ["inf"],
    "--end": ["inf", "-inf"],
    "--sampling-rate": ["0", "-1", "inf"],
    "--every": ["0", "-1"],
    "--wash-in": ["0", "-1", "inf"],
    "--span": ["0", "-1", "inf"],
}
"""Numbers that no run can have."""
TEXT = {
    "--set": ["g_Kr", "=5", "g_X=1", "g_Kr=abc", "g_Kr=nan"],
    "--init": ["V", "=5", "v=1", "V=abc", "V=nan", "V=-0.085"],
    "--steps": ["-80", "-80:", "a:b", "-80:-5", "-80:0", "nan:5", "-0.08:100,0.02:100", ""],
    "--protocol": ["nofile.json", "."],
    "--clamp": ["nofile.json"],
    "--variant": ["left"],
    "--parameters": ["g_X", ""],
    "--outputs": ["I_X", "V,,", "V,V"],
    "--vary": ["g_X"],
    "--range": ["apd90", "apd90=1", "apd95=1:2", "apd90=8:1", "apd90=nan:nan"],
    "--scale": ["g_Kr", "g_Kr=-1", "g_X=1"],
    "--out": ["nowhere/x.h5", "x.exe"],
    "--experiments": ["", "beats,", "no such", "beats;cable"],
    "--intervals": ["", "300,", "a,b", "-5", "0", "inf", "nan,300", "1"],
    "--animation": ["nowhere/x.gif", "x.exe", "x", "."],
    "--drugs": ["", "no such", "none,,"],
    "--training": ["nofile.h5", "."],
    "--calibration": ["nofile.h5", "."],
    "--checkpoint": ["nowhere/x", "."],
    "--plot": ["nowhere/x.png", "x.exe", "."],
    "--table": ["nowhere/x.csv", "x.exe", "."],
}
PULSES = ("--pulse-amplitude", "--duration", "--period", "--start")
LEGAL = (
    ("population plot", "--cells", "1000000000000"),
    ("twin", "--protocol", "nofile.json"),
    ("twin", "--protocol", "."),
)
"""All the cells there are; a file that is written."""
CALLED = {"--clamp": "--protocol", "--parameters": "parameter", "--outputs": "output", "--dtype": "dtype"}
"""What a message says instead of the option: a name that is not there speaks for itself."""


def jobs(top=None, path=()):
    top = parser() if top is None else top
    several = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    if not several:
        yield " ".join(path), top
    for action in several:
        for name, sub in action.choices.items():
            yield from jobs(sub, (*path, name))


def cases():
    for job, sub in jobs():
        for action in sub._actions:
            for option in action.option_strings:
                if action.nargs == 0 or not option.startswith("--"):
                    continue
                junk = list(TEXT.get(option, ()))
                if action.type in NUMBERS:
                    junk = ["abc", "nan", "", "1,5", "5 ms", *OUTSIDE.get(option, ())]
                elif action.type is whole:
                    junk = ["abc", "2.5", "nan", "", *OUTSIDE.get(option, ())]
                elif action.type is model_name or action.choices:
                    junk = ["no such name", ""]
                for value in (x for x in junk if (job, option, x) not in LEGAL):
                    yield pytest.param(job, option, value, id=f"{job} {option}={value}")


@pytest.mark.parametrize(("job", "option", "value"), list(cases()))
def test_junk_is_refused_in_one_line_that_names_the_option(job, option, value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--cells", "2"] if "--cells" in parser_of(job) and option != "--cells" and job != "twin" else []
    if option in PULSES and job != "simulate":
        few += ["--model", "tentusscher"]  # has a published pulse to change
    arguments = [*job.split(), *POSITIONALS.get(job, []), *few, "--no-cache", f"{option}={value}"]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "Traceback" not in said, said
    names = {option, CALLED.get(option, option), value.partition("=")[0] or option}
    assert any(name in said for name in names if name), said
    assert not list(tmp_path.iterdir())  # nothing is left behind


def parser_of(job):
    return {o for name, sub in jobs() if name == job for a in sub._actions for o in a.option_strings}
