"""A program that kills what writes, at random moments, and looks at what is left; `test_kills.py` runs it.

    python killing.py FOLDER writers|verbs MOMENTS [NAME ...]

Everything is computed once. Then a fork of this process writes again, over earlier files, and is killed (SIGKILL), or
meets a limit of the size of files, or a disk that fills up (where one can be mounted) at a random moment. Afterwards
every file must be, byte for byte, the earlier one or the one that an undisturbed run writes; nothing else may be there
but parts of killed writes; and an undisturbed run must then do its work. Prints a line of JSON a job.
"""

import contextlib
import functools
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": f"{sys.argv[1]}/cache", "TF_CPP_MIN_LOG_LEVEL": "3"}
import jax

jax.config.update("jax_enable_x64", True)
import numpy as np  # noqa: E402

import jaxcardio as jc  # noqa: E402
from jaxcardio.__main__ import main  # noqa: E402
from jaxcardio.files.writing import LEFT, put, write_csv, write_figure, write_hdf5, write_leaves, write_text  # noqa: E402

LONGEST = 60.0
"""Seconds after which a fork that does not end has failed."""


class Job(NamedTuple):
    """Something that writes."""

    name: str
    do: Callable[[], int]
    """Writes into the working folder, with its content changed by `change`; 0 if it ended well."""
    change: Callable[[], None] = lambda: None
    """Makes what is written from now on another."""
    prepare: Callable[[], None] = lambda: None
    """Makes the inputs, once."""


# --- what writes -----------------------------------------------------------------------------------------------------


def writers() -> list[Job]:
    """The writers of the library by themselves, on small results."""
    scale = [1.0]

    def changed() -> None:
        scale[0] = 2.0

    ts = np.arange(3000.0)
    trace = jc.Trace.from_samples(ts, np.ones((3, 3000)))
    command = jc.protocols.VoltageSteps([-80.0, 20.0], [150.0, 150.0])
    V = np.tile(np.where(np.arange(800) % 400 < 100, 20.0, -80.0), 1)

    def saved_trace() -> None:
        jc.Trace.from_samples(ts, scale[0] * trace.ys.V + 1).save("trace.h5")

    def recording() -> None:
        jc.twin.Recording(command, scale[0] * np.sin(np.arange(3000)), 0.1).save("recording.h5")

    def observations() -> None:
        seen = jc.hidden_state.Sweep(400.0, V, np.full(800, 1e-4 * scale[0]), 1.0, name="a")
        jc.hidden_state.Observations((seen,)).save("observations.h5", "control")

    def figure() -> None:
        from matplotlib.figure import Figure

        drawn = Figure()
        drawn.subplots().plot([0.0, scale[0]])
        write_figure("figure.png", drawn, 50)

    jobs: list[Callable[[], Any]] = [
        saved_trace, recording, observations, figure,
        lambda: write_text("text.json", str(scale[0]) * 30_000),
        lambda: write_csv("table.csv", ([scale[0], k] for k in range(5000))),
        lambda: write_hdf5("many.h5", lambda f: [put(f, f"x{k}", scale[0] * np.arange(500.0), "1") for k in range(30)]),
        lambda: write_leaves("weights.net", {"w": scale[0] * np.ones(50_000)}, b"{}\n"),
    ]  # fmt: skip
    names = ["Trace.save", "Recording.save", "Observations.save", "figure", "text", "csv", "hdf5", "network"]

    def done(job: Callable[[], Any]) -> Callable[[], int]:
        def do() -> int:
            job()
            return 0

        return do

    def begin() -> None:
        scale[0] = 1.0

    return [Job(name, done(job), changed, begin) for name, job in zip(names, jobs, strict=True)]


def verbs() -> list[Job]:
    """The verbs of the command line that write. What they compute is computed once, and remembered.

    `dataset make` begins anew each time, in a folder that is not there: its earlier state is nothing. `hidden-state
    explain` draws nothing here: its figure runs JAX, and hangs in a fork. Figures are tried by the other verbs.
    """
    brief = ["--t1", "20", "--save-every", "0.5", "--dt", "0.1"]
    population = ["--cells", "3", "--model", "alievpanfilov1996", "--parameters", "k", "--t1", "20"]
    small = ["--cells", "200", "--epochs", "2", "--starts", "1", "--draws", "4", "--doses", "0", "50"]
    lines = {
        "simulate": (["simulate", "alievpanfilov1996", "--out", "a.h5", *brief], ["--init", "u=0.1"]),
        "drug": (["drug", "E-4031", "--cells", "2", "--spread", "0.05", "--t1", "7000", "--doses", "0", "50",
                  "--out", "d.h5"], ["--seed", "1"]),
        "biomarkers": (["biomarkers", "in.h5", "--out", "b.csv"], ["--min-amplitude", "150"]),
        "biomarkers-hdf5": (["biomarkers", "in.h5", "--out", "b.h5"], ["--min-amplitude", "150"]),
        "population-simulate": (["population", "simulate", "p.h5", *population], ["--seed", "1"]),
        "population-screen": (["population", "screen", "--cells", "2", "--t1", "4200", "--out", "s.csv"],
                              ["--seed", "1"]),
        "population-screen-hdf5": (["population", "screen", "--cells", "2", "--t1", "4200", "--out", "s.h5"],
                                   ["--seed", "1"]),
        "population-plot": (["population", "plot", "in-p.h5", "--out", "p.png"], ["--cells", "2"]),
        "dataset-make": (["dataset", "make", "data", "--cells", "12", "--shard", "4", "--no-screen", "--t1", "50"],
                         ["--seed", "1"]),
        "twin": (["twin", "steps.h5", "--network", "n.net", "--train", "--out", "t.h5", *small], ["--seed", "1"]),
        "twin-example": (["twin", "--example", "e.h5"], []),
        "twin-protocol": (["twin", "--protocol", "clamp.json"], []),
        "hidden-state-train": (["hidden-state", "train", "--steps", "200", "--out", "g.net"], ["--seed", "1"]),
        "hidden-state-example": (["hidden-state", "example", "o.h5"], ["--scenario", "ito"]),
        "hidden-state-explain": (["hidden-state", "explain", "in-o.h5", "--out", "x.json", "--no-plot"],
                                 ["--control", "control2"]),
        "hidden-state-retrain": (["hidden-state", "retrain", "in-o.h5", "--out", "r.json"], ["--group", "control"]),
    }  # fmt: skip
    return [verb(name, line, other) for name, (line, other) in lines.items()]


def verb(name: str, line: list[str], other: list[str]) -> Job:
    now = [line]
    return Job(name, lambda: main(now[0]), lambda: now.__setitem__(0, [*line, *other]), lambda: inputs(name))


def inputs(name: str) -> None:
    if name.startswith("biomarkers"):
        t = np.arange(0.0, 3000.0)
        jc.Trace.from_samples(t, np.where(t % 1000 < 300, 20.0, -80.0) - 0.01 * (t % 1000)).save("in.h5")
    if name == "population-plot":
        few = ["--cells", "3", "--model", "alievpanfilov1996", "--parameters", "k", "--t1", "20"]
        assert main(["population", "simulate", "in-p.h5", *few]) == 0
    if name == "twin":
        steps = jc.protocols.VoltageSteps([-100.0, -20.0, 30.0, -60.0], [60.0, 60.0, 60.0, 60.0])
        ts = 0.1 * np.arange(2400)
        run = jc.simulate(jc.models.KernikClancy2019(), steps, t1=240.0, save_at=ts, outputs=["I_ion_total"])
        noise = 0.05 * np.random.default_rng(0).standard_normal(len(ts))
        jc.twin.Recording(steps, np.asarray(run.ys.I_ion_total) + noise, 0.1).save("steps.h5")
    if name in ("hidden-state-explain", "hidden-state-retrain"):
        cell = jc.models.TenTusscher2004()
        less = cell.replace(g_Kr=0.5 * cell.g_Kr)
        other = cell.replace(g_Ks=0.8 * cell.g_Ks)
        for group, one in (("control", cell), ("control2", other), ("treatment", less)):
            jc.hidden_state.simulated_observations(one, (400.0,)).save("in-o.h5", group)


EXPENSIVE = [
    ("cli.run", "simulate"), ("cli.run", "action_potentials"), ("cli.drug", "dose_response"), ("cli.drug", "sample"),
    ("cli.beats", "action_potentials"), ("cli.population", "simulate"), ("cli.population", "screen"),
    ("cli.population", "_sampled"), ("cli.twin", "build"), ("cli.twin", "train"), ("cli.twin", "simulated_twin"),
    ("cli.twin", "posterior_cells"), ("cli.twin", "posterior_response"), ("twin.example", "recorded"),
    ("cli.hidden_state", "first_pass"), ("cli.hidden_state", "gate_curves"),
    ("cli.hidden_state", "simulated_observations"), ("cli.hidden_state", "explain"), ("cli.hidden_state", "retrain"),
    ("plot.traces", "_currents_of"),
]  # fmt: skip
KNOWN: dict[str, list[Any]] = {}


def remember() -> None:
    """What takes long, or needs JAX, gives in a fork what it gave before: its n-th call after `replay`, by the job."""
    for module_name, name in EXPENSIVE:
        module = importlib.import_module(f"jaxcardio.{module_name}")
        if hasattr(module, name):
            setattr(module, name, _remembered(f"{module_name}.{name}", getattr(module, name)))
    recipe = jc.population.Recipe
    made: dict[str, Any] = {}
    make = recipe.make

    def make_once(self, indices, progress=None, **where):
        key = f"{self.digest}{list(indices)}"
        if key not in made:
            made[key] = make(self, indices, progress, **where)
        return made[key]

    recipe.make = make_once  # pyright: ignore[reportAttributeAccessIssue]


CALLS: dict[str, int] = {}


def _remembered(label: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*args, **kwargs):
        number = CALLS.get(label, 0)
        CALLS[label] = number + 1
        known = KNOWN.setdefault(label, [])
        if number < len(known):
            return known[number]
        found = function(*args, **kwargs)
        known.append(jax.tree.map(_on_host, found))
        return known[number]

    return call


def _on_host(x: Any) -> Any:
    is_key = isinstance(x, jax.Array) and jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(x) if isinstance(x, jax.Array) and not is_key else x


# --- what befalls it -------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "lock"}  # fmt: skip


def parts(names: Any) -> set[str]:
    return {name for name in names if LEFT.search(name)}


def fork(job: Job, folder: Path, limit: int | None = None, kill: float | None = None) -> tuple[int, str]:
    """Runs the job in a fork; its exit status (-9: killed) and what it said on stderr."""
    said = folder.parent / "said"
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.chdir(folder)
            descriptor = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(descriptor, 2)
            sys.stdout = io.StringIO()
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            status = job.do()
        except OSError as error:  # of a writer by itself; a verb says so and returns 2
            status = 2 if "cannot be written" in str(error) else 71
            print(error, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    began = time.perf_counter()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), said.read_text(errors="replace") if said.exists() else ""
        spent = time.perf_counter() - began
        if spent > (LONGEST if kill is None else kill):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -9 if kill is not None else -99, ""
        time.sleep(2e-4)


def look(found: dict[str, bytes], earlier: dict[str, bytes], new: dict[str, bytes], dataset: bool) -> str:
    """What is wrong with the files that are left, or nothing."""
    for name in sorted(set(found) - parts(found)):
        if dataset and name.endswith("manifest.json"):
            with contextlib.suppress(ValueError):
                if json.loads(found[name])["shards"].items() <= json.loads(new[name])["shards"].items():
                    continue
        if found[name] not in (earlier.get(name), new.get(name)):
            return f"{name}: neither the earlier file nor the new one"
    lost = set(earlier) - set(found)
    return f"lost: {', '.join(sorted(lost))}" if lost else ""


def trial(job: Job, folder: Path, moments: int, small_disk: Path | None) -> dict[str, Any]:
    """Earlier and new files of a job, and then its moments of every kind."""
    dataset = job.name == "dataset-make"
    folder.mkdir(parents=True)
    os.chdir(folder)
    job.prepare()
    before = contents(folder)
    _undisturbed(job)
    earlier = before if dataset else contents(folder)
    if dataset:
        shutil.rmtree(folder / "data")
    job.change()
    trained = folder.parent / f"{folder.name}-new"
    shutil.copytree(folder, trained)
    os.chdir(trained)
    _undisturbed(job)
    new = contents(trained)
    CALLS.clear()
    began = time.perf_counter()
    shutil.rmtree(trained)
    _lay(trained, earlier)
    status, said = fork(job, trained)
    length = time.perf_counter() - began
    assert status in (0, 1), f"{job.name}: in a fork: {status} {said[-2000:]}"
    assert contents(trained) == new, f"{job.name}: a second run writes another file"
    draw = random.Random(job.name)
    largest = max(len(x) for name, x in new.items() if name not in before or x != before[name])
    wrong: list[str] = []
    counts = dict.fromkeys(("killed", "left a part", "changed", "limit", "refused", "disk", "disk refused"), 0)

    def judge(what: str, place: Path, status: int, said: str, allowed: tuple[int, ...]) -> None:
        found = contents(place)
        problem = look(found, earlier, new, dataset)
        counts["left a part"] += bool(parts(found))
        counts["changed"] += set(found.items()) != set(earlier.items())
        if status not in allowed or "Traceback" in said:
            problem = problem or f"exit {status}: {said[-500:]}"
        if allowed != (0, 1, -9) and parts(found):
            problem = problem or f"a part is left: {parts(found)}"
        if problem:
            wrong.append(f"{what}: {problem}")

    for _ in range(moments):
        _lay(trained, earlier)
        kill = draw.uniform(0, length)
        status, said = fork(job, trained, kill=kill)
        counts["killed"] += status == -9
        judge(f"killed after {kill:.4f} s", trained, status, said, (0, 1, -9))
        left = contents(trained)
        if {n: x for n, x in left.items() if n not in parts(left)} != earlier and not dataset:
            continue
        status, said = fork(job, trained)  # what is left breaks no later run
        after = contents(trained)
        if status not in (0, 1) or {n: x for n, x in after.items() if n not in parts(after)} != new:
            wrong.append(f"after a kill at {kill:.4f} s: exit {status}, {sorted(after)} {said[-300:]}")
    for _ in range(moments):
        _lay(trained, earlier)
        limit = draw.randrange(int(1.1 * largest) + 1)
        status, said = fork(job, trained, limit=limit)
        counts["limit"] += 1
        counts["refused"] += status == 2
        judge(f"no file above {limit} bytes", trained, status, said, (0, 1, 2))
    for _ in range(moments if small_disk else 0):
        assert small_disk is not None
        place = small_disk / "job"
        _lay(place, earlier)
        free = shutil.disk_usage(small_disk).free
        room = draw.randrange(int(1.1 * largest) + 8192)
        (small_disk / "fill").write_bytes(bytes(max(0, free - room)))
        status, said = fork(job, place)
        counts["disk"] += 1
        counts["disk refused"] += status == 2
        judge(f"a disk with room for {room} bytes", place, status, said, (0, 1, 2))
        (small_disk / "fill").unlink()
    return {"job": job.name, "seconds": round(length, 3), "bytes": largest, **counts, "wrong": wrong}


def _undisturbed(job: Job) -> None:
    CALLS.clear()
    KNOWN.clear()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = job.do()
    assert status in (0, 1), f"{job.name}: {said.getvalue()[-2000:]}"


def _lay(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@contextlib.contextmanager
def disk(folder: Path):
    """A disk of 16 MB, or None where none can be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        os.chdir("/")
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)


def program() -> None:
    folder, kind, moments, *names = sys.argv[1:]
    jobs = writers() if kind == "writers" else verbs()
    if kind == "verbs":
        remember()
    with disk(Path(folder) / "small") as small_disk:
        for job in jobs:
            if not names or job.name in names:
                try:
                    found = trial(job, Path(folder) / job.name, int(moments), small_disk)
                except AssertionError as error:
                    found = {"job": job.name, "wrong": [str(error)]}
                print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    program()
