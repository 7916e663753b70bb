"""Compiled programs are kept and found again; where that cannot be, the run goes on without a word."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import mappings

import jaxcardio as jc
from jaxcardio import cache

RUN = ["simulate", "alievpanfilov1996", "--t1", "2", "--save-every", "1", "--no-plot", "--out", "a.h5"]


def run(tmp_path, *options, **variables) -> subprocess.CompletedProcess[str]:
    away = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL")
    env = {k: v for k, v in os.environ.items() if k not in away} | {"XDG_CACHE_HOME": str(tmp_path)} | variables
    return subprocess.run(
        [sys.executable, "-m", "jaxcardio", *RUN, *options], env=env, cwd=tmp_path, capture_output=True, text=True
    )


def is_quiet(done) -> bool:
    """Nothing but the progress bar on stderr."""
    return done.returncode == 0 and all("AlievPanfilov1996 [" in x for x in done.stderr.split("\r") if x.strip())


def entries(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in sorted(folder.rglob("*-cache"))}


def test_programs_are_kept_found_again_and_replaced_silently_where_they_are_damaged(tmp_path):
    first = run(tmp_path)
    assert is_quiet(first), first.stderr
    kept = entries(tmp_path / "jaxcardio")
    assert kept
    again = run(tmp_path)
    assert is_quiet(again), again.stderr
    assert again.stdout == first.stdout
    for path in kept:
        path.write_bytes(b"not a program")
    damaged = run(tmp_path)
    assert is_quiet(damaged), damaged.stderr
    assert damaged.stdout == first.stdout


@pytest.mark.parametrize("how", ["off", "a file in the way", "unwritable"])
def test_without_a_cache_the_run_is_the_same(how, tmp_path):
    options, variables = (), {}
    if how == "off":
        options = ("--no-cache",)
    elif how == "a file in the way":
        (tmp_path / "jaxcardio").write_text("mine")
    else:
        variables = {"XDG_CACHE_HOME": "/proc/nowhere"}
    done = run(tmp_path, *options, **variables)
    assert is_quiet(done), done.stderr
    assert not entries(tmp_path)


def test_the_folder_of_jax_wins(monkeypatch, tmp_path):
    given = tmp_path / "given"
    assert is_quiet(run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(given)))
    assert entries(given)
    assert not (tmp_path / "jaxcardio").exists()


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/a"}, "/a"),
        ("linux", {"HOME": "/h"}, "/h/.cache"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l"),
    ],
)
def test_the_folder_is_the_users(platform, variables, folder, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache._user_folder() == Path(folder)


def test_what_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"folder = .*file.*: cannot be made"):
        cache.use_cache(tmp_path / "file" / "below")


def test_the_cache_is_bounded_and_the_longest_unused_go_first(tmp_path):
    (tmp_path / "a").mkdir()
    paths = [tmp_path / "a" / f"{k}-cache" for k in range(10)]
    for k, path in enumerate(paths):
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + k, 1000 + k))
    cache._prune(tmp_path, 1000)
    assert all(p.exists() for p in paths)
    cache._prune(tmp_path, 999)
    assert [p.exists() for p in paths] == [False] * 6 + [True] * 4


@pytest.mark.skipif(not mappings(), reason="counts the memory mappings that Linux lists")
def test_clearing_jax_s_caches_gives_back_the_memory_of_every_run():
    """Nothing of ours holds on to a compiled program: a session of many runs need not end at Linux's limit."""
    cell = jc.models.TenTusscher2004()
    jc.simulate(cell, t1=1.0, dt=0.1)
    before = mappings()
    for t1 in (2.0, 3.0, 4.0):
        jc.simulate(cell, t1=t1, dt=0.1)
    assert mappings() > before + 30
    jax.clear_caches()
    assert mappings() <= before
