"""Killed, on a full disk, or with a limit of the size of files, at random moments: the earlier file or the new one is
there, whole. `killing.py` does it, in forks of a process of its own, for every writer and every verb that writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
MOMENTS = int(os.environ.get("JAXCARDIO_KILLS", "5"))
"""Moments of each kind for each verb."""


def killed(folder: Path, kind: str, moments: int) -> dict[str, dict]:
    words = [sys.executable, "-W", "ignore", Path(__file__).with_name("killing.py"), folder, kind, str(moments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-3000:]
    for job in found:
        print({k: x for k, x in job.items() if k != "wrong"})
    return {job["job"]: job for job in found}


def test_no_writer_loses_the_earlier_file(tmp_path):
    jobs = killed(tmp_path, "writers", 3)
    assert len(jobs) == 8
    assert {name: job["wrong"] for name, job in jobs.items() if job["wrong"]} == {}
    assert sum(job["killed"] for job in jobs.values()) >= 8  # others ended before their moment came
    assert sum(job["refused"] for job in jobs.values()) >= 8


@pytest.mark.slow  # trains and fits; then seconds a verb and moment
def test_no_verb_loses_the_earlier_file(tmp_path):
    jobs = killed(tmp_path, "verbs", MOMENTS)
    assert len(jobs) == 16
    assert {name: job["wrong"] for name, job in jobs.items() if job["wrong"]} == {}
