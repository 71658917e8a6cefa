"""The short form of experiments/endurance.py, and that its judges can say no."""

import json
import pathlib
import random
import shutil

import pytest

from jnas.endurance import (
    damage,
    disk,
    finals,
    kills,
    kinds,
    parser,
    races,
    soak,
    stops,
    undisturbed,
)

LAUNCHERS = pathlib.Path(__file__).parent.parent / "experiments"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where trials run, two at a time."""
    folder = tmp_path_factory.mktemp("endurance")
    return undisturbed.Place(folder, folder / "logs", folder / "cache", 2)


@pytest.fixture(scope="module")
def whole(place):
    """A gradient search that nobody disturbs: three times the same."""
    lines = kinds.prepare(place.folder, LAUNCHERS)
    assert set(lines) == set(kinds.NAMES)
    name, line = lines[kinds.SEARCH]
    short = kinds.Kind(name, (*line, "--epochs=25", "--watch_interval=0"))
    return undisturbed.measure(short, place)


def test_kill_9_at_random_moments(whole, place):
    """The long form does this 20 times for each kind of run."""
    row = kills.row(whole, kills.trials(whole, place, num_trials=2, seed=0))
    assert row["survived"] == row["tried"] == 2 and not row["wrong"]
    assert row["kills"] >= 2 and row["kills_after_a_checkpoint"] >= 1


def test_a_signal_in_a_step(whole, place):
    """At most 10 seconds, the right status, the same result."""
    row = stops.row(whole, stops.trials(whole, place, num_trials=1, seed=1))
    assert row["survived"] == 1 and not row["wrong"] and row["met_alive"] == 1


def test_a_full_disk(whole, place):
    """On a small file system, where one can be mounted."""
    row = disk.trials(whole, place, num_trials=1, seed=0)
    if "skipped" in row:
        pytest.skip(row["skipped"])
    assert row["survived"] == 1 and not row["wrong"]


def test_damage_of_every_kind_is_seen(whole, place):
    """Each damage three times; the run's own folder stays as it is."""
    folder = place.folder / whole.kind.name
    row = damage.look(folder, num_trials=3 * len(damage.DAMAGES), seed=0)
    assert row["survived"] == row["tried"] == 15 and not row["wrong"]


def test_differences_are_seen(whole, place):
    """One other bit of the state, one line twice, one file more."""
    folder = place.folder / "changed"
    shutil.copytree(place.folder / whole.kind.name, folder)
    assert not finals.differences(finals.read(folder), whole.final)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([*lines, lines[-1]]) + "\n")
    (folder / "more").touch()
    text = (folder / "genotype.json").read_text()
    (folder / "genotype.json").write_text(text + " ")
    assert finals.differences(finals.read(folder), whole.final) == [
        "files",
        "genotype.json",
        "metrics.jsonl: step does not rise",
    ]
    newest = folder / "checkpoints" / str(finals.steps(folder)[-1])
    damage.flip(newest / "MANIFEST.json", random.Random(0))
    with pytest.raises(finals.manifest.Damaged):
        finals.read(folder)
    shutil.rmtree(folder)


def test_races_have_one_winner(tmp_path):
    """The long form has fifty, and some of whole launchers."""
    row = races.forked(tmp_path, num_races=3)
    assert row["survived"] == row["tried"] == 3 and not row["wrong"]
    assert row["refusals_beyond_2_s"] == 0


def test_hostile_genotype_files(tmp_path):
    """The long form tries 100,000."""
    row = parser.search(1000, tmp_path, seed=0)
    assert row["tried"] >= 1000 and row["survived"] == row["tried"]
    assert 0 < row["genotypes"] < row["tried"] and not row["wrong"]


def samples(growth, files, compiled):
    """A thousand samples of a run of 10,000 steps; growth in MB each 1,000."""
    return [
        soak.Sample(10 * i, int(3e8 + growth * 1e4 * i), files(i), compiled(i))
        for i in range(1, 1001)
    ]


@pytest.mark.parametrize(
    ("growth", "files", "compiled", "words"),
    [
        (0.5, lambda i: 9, lambda i: 40, None),
        (1.5, lambda i: 9, lambda i: 40, "memory grows by 1.50 MB"),
        (0.0, lambda i: 9 + (i > 900), lambda i: 40, "from 9 to 10 files"),
        (0.0, lambda i: 9, lambda i: 40 + (i > 900), "1 programs were compiled"),
        (0.0, lambda i: 9 + (i < 100), lambda i: min(i, 200), None),  # warming up
    ],
)
def test_a_soak_is_judged_after_its_warm_up(growth, files, compiled, words):
    """Memory, open files, programs."""
    row = soak._judge("x", samples(growth, files, compiled), 1.0)
    assert json.dumps(row)
    assert row["survived"] == (words is None)
    assert words is None or words in row["wrong"][0]


def test_a_soak_of_a_few_steps(tmp_path):
    """The loop is really run, a call a step."""
    row = soak.soak("discrete", tmp_path, num_steps=200)
    assert row["steps"] == 200 and row["open_files"] > 3
    assert row["compiled_after_warm_up"] == 0
