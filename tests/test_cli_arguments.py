"""The command line's own tables agree with what they are of, and its messages are one line that names the option."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcardio import __main__ as command
from jaxcardio import models
from jaxcardio.cli import run
from jaxcardio.cli.arguments import VERBS, parser, shared, simulate
from jaxcardio.population import viability
from jaxcardio.population.dataset import SHARD
from jaxcardio.twin import STARTS


def test_tables_agree_with_what_they_are_of():
    for name, line in shared.MODELS.items():
        assert (getattr(models, name).__doc__ or "").strip().splitlines()[0] == line
    assert set(simulate.SOLVERS) == set(run.SOLVERS)
    assert set(VERBS) == set(command.MODULES)
    drug, made = parser().parse_args(["drug", "x"]), parser().parse_args(["dataset", "make", "f"])
    assert (drug.dt, drug.t1, drug.save_every) == (viability.DT, viability.T1, viability.SAVE_EVERY)
    assert (made.screen_t1, made.screen_discard, made.shard) == (viability.T1, viability.DISCARD, SHARD)
    assert parser().parse_args(["population", "screen"]).t1 == viability.T1
    assert parser().parse_args(["twin"]).starts == STARTS


@pytest.mark.parametrize("place", [0, 1, 2, 5])
def test_no_cache_is_taken_anywhere(place):
    words = ["population", "simulate", "a.h5", "--cells", "3"]
    assert not parser().parse_args(words).no_cache
    assert parser().parse_args([*words[:place], "--no-cache", *words[place:]]).no_cache


NUMBERS = [
    (["simulate", "kernik"], option)
    for option in ("--t1", "--dt", "--save-every", "--rtol", "--period", "--duration", "--start", "--dose")
] + [(["drug", "E-4031"], "--spread"), (["biomarkers", "f"], "--smoothing"), (["twin"], "--temperature")]
WHOLE = [(["drug", "E-4031"], "--cells"), (["dataset", "make", "d"], "--shard"), (["twin"], "--epochs")]


def is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


@given(st.sampled_from([*NUMBERS, *WHOLE]), st.text(min_size=1, max_size=8).filter(lambda x: not is_number(x)))
def test_what_is_no_number_is_one_line_that_names_the_option(where, text):
    words, option = where
    said = []
    top = parser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared.Parser, "_print_message", lambda self, message, file=None: said.append(message))
        with pytest.raises(SystemExit) as stop:
            top.parse_args([*words, f"{option}={text}"])
    assert stop.value.code == 2
    (line,) = said
    assert line.count("\n") == 1 and line.endswith("\n")
    assert option in line
    assert "allowed: a" in line


@given(st.sampled_from(list(shared.MODELS)), st.integers(0, 10**6), st.sampled_from(["", "-", "_", " "]))
def test_a_model_is_found_by_case_separators_and_beginning(name, seed, separator):
    where = seed % len(name)
    text = name[:where] + separator + name[where:]
    assert shared.model_name(text.swapcase()) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tentusscher", "TenTusscher2004"),
        ("TenTusscher-Panfilov", "TenTusscherPanfilov2006"),
        ("ten_tusscher_p", "TenTusscherPanfilov2006"),
        ("aliev-panfilov", "AlievPanfilov1996"),
    ],
)
def test_a_model_is_found_without_its_year_though_another_name_begins_so(text, name):
    assert shared.model_name(text) == name


def test_the_beginning_of_several_models_is_refused_with_their_names():
    with pytest.raises(argparse.ArgumentTypeError, match="beginning of several: TenTusscher2004, TenTusscherPanf"):
        shared.model_name("tentus")
