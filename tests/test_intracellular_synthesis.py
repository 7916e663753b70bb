"""Synthetic recordings: what is in the file is what is said to be true of it."""

from typing import Any

import numpy as np
import pytest

from jaxcardio.intracellular import synthesis
from jaxcardio.intracellular.features import action_potential_durations
from jaxcardio.intracellular.recording import Recording
from jaxcardio.intracellular.synthesis import synthesize_recording

RATE = 5000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """70 s of six channels, drug at 12 s, electroporation at 6 s, channel 4 dead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "SETTLING", 4)
        path = tmp_path_factory.mktemp("recordings") / "made.h5"
        return synthesize_recording(
            path, channels=6, duration=70_000.0, added_at=12_000.0, electroporated_at=6_000.0, concentration=5.0,
            cycle_length=1000.0, dead=(4,), seed=3,
        )  # fmt: skip


def at(recording: Recording, begin: float, end: float) -> np.ndarray:
    return recording.read(round(begin * 5), round(end * 5))


@pytest.mark.slow
def test_the_file_says_what_it_is_of(made):
    recording = made.recording
    assert recording.sampling_rate == RATE
    assert recording.n_samples == 350_000
    assert recording.kinds == ("extracellular", "intracellular") * 3
    assert recording.partners == (1, -1, 3, -1, 5, -1)
    assert [(e.kind, e.time, e.label, e.concentration) for e in recording.events] == [
        ("electroporation", 6_000.0, "", None),
        ("drug", 12_000.0, "dofetilide", 5.0),
    ]
    assert recording.positions is not None
    assert np.ptp(recording.positions, axis=0).tolist() == [400.0, 200.0]


def durations(made, channel: int, beat: int) -> np.ndarray:
    begin = made.truth.beats[beat] - 90.0
    window = at(made.recording, begin, begin + 950.0)[channel]
    return np.asarray(action_potential_durations(window, RATE))


@pytest.mark.slow
def test_inside_the_durations_are_those_of_the_truth_before_and_after_the_drug(made):
    """Beat 9, at about 9 s, is one without drug; the last but one, 56 s after it was added, one under 98 % of it."""
    levels = slice(2, 9)
    for channel in (1, 3, 5):
        np.testing.assert_allclose(durations(made, channel, 9)[levels], made.truth.before[channel][levels], atol=8)
        last = len(made.truth.beats) - 3
        np.testing.assert_allclose(durations(made, channel, last)[levels], made.truth.after[channel][levels], atol=12)
    assert (made.truth.after[:, 8] > made.truth.before[:, 8] + 50).all()


@pytest.mark.slow
def test_the_drug_comes_in_gradually(made):
    apd90 = np.array([durations(made, 1, beat)[8] for beat in range(9, 60, 5)])
    assert (np.diff(apd90) > -5).all()
    assert apd90[2] < made.truth.after[1, 8] - 30


@pytest.mark.slow
def test_access_opens_with_the_pulse_and_falls_as_the_pores_reseal(made):
    quiet, opened = at(made.recording, 1_000, 5_900), at(made.recording, 8_000, 12_000)
    late = at(made.recording, 64_000, 68_000)
    for channel in (1, 3, 5):
        assert np.ptp(opened[channel]) > 4 * np.ptp(quiet[channel])
        assert np.ptp(late[channel]) < np.ptp(opened[channel])
    assert made.recording.limits is not None
    pulse = at(made.recording, 6_000.2, 6_050)
    np.testing.assert_allclose(pulse[[1, 3, 5]], made.recording.limits[1, 1], atol=2e-3)
    assert np.ptp(pulse[0]) < 5


@pytest.mark.slow
def test_a_dead_channel_has_noise_and_no_beats(made):
    dead = at(made.recording, 0, 5_000)[4]
    assert 0 < np.ptp(dead) < 0.2


@pytest.mark.slow
def test_the_wave_runs_along_x_at_about_the_speed_of_cultures(made):
    assert 0.03 < made.truth.speed < 0.08
    np.testing.assert_allclose(np.diff(made.truth.delays[:3]), 0.2 / made.truth.speed, atol=1.0)
    first = made.truth.beats[3]
    peaks = at(made.recording, first, first + 100)[[0, 2]].argmax(1) / 5
    np.testing.assert_allclose(peaks[1] - peaks[0], made.truth.delays[2], atol=2.0)


@pytest.mark.slow
def test_the_file_is_the_same_for_every_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "SETTLING", 1)
    options: dict[str, Any] = dict(
        channels=2, duration=4_000.0, electroporated_at=2_000.0, added_at=1_000.0, cycle_length=900.0
    )
    files = []
    for name, chunk in (("a.h5", 10_000.0), ("b.h5", 333.0)):
        made = synthesize_recording(tmp_path / name, chunk=chunk, concentration=1.0, **options)
        files.append(made.recording.read(0, made.recording.n_samples))
    assert np.array_equal(files[0], files[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(channels=0), "channels = 0"),
        (dict(device="x"), "device = 'x'"),
        (dict(drug="aspirin"), "drug = 'aspirin'"),
        (dict(duration=10.0), "duration = 10.0 ms"),
        (dict(dead=(99,)), "dead = 99"),
        (dict(electroporated_at=1e9), "electroporated_at"),
        (dict(concentration=-1.0), "concentration = -1.0 nM"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        synthesize_recording(tmp_path / "x.h5", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_dose_that_the_culture_cannot_follow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "SETTLING", 2)
    with pytest.raises(ValueError, match="does not follow every stimulus"):
        synthesize_recording(
            tmp_path / "x.h5", channels=1, duration=5_000.0, paired=False, concentration=200.0, cycle_length=500.0
        )
