"""Tests of endurance: it sees what was survived and what was not; a run survives.

Most of them try a stand-in for a launcher, which starts in no time and which can be
made to do one thing wrong.
"""

import pathlib
import random
import sys

import jax.numpy as jnp
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
from jnas.run import checkpoint, files

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
STAND_IN = """
import hashlib, json, os, pathlib, random, shutil, signal, sys, time

fault, folder = sys.argv[1], pathlib.Path(sys.argv[-1].partition("=")[2])
saves, lines = folder / "checkpoints", folder / "metrics.jsonl"
received = []

def sha(data):
    return hashlib.sha256(data).hexdigest()

def save(step, value):
    beside, data = saves / f".tmp-{step}", f"{value:<50000}".encode()
    beside.mkdir(parents=True)
    (beside / "state").write_bytes(data)
    body = {
        "step": step, "note": {"results": {"seconds": time.time()}},
        "leaves": [{"name": "value", "sha256": sha(data)}],
        "files": {"state": {"size": len(data), "sha256": sha(data)}},
    }
    text = json.dumps(body, sort_keys=True, indent=1)
    body["sha256"] = sha(text.encode())
    text = json.dumps(body, sort_keys=True, indent=1) + "\\n"
    (beside / "MANIFEST.json").write_text(text)
    time.sleep(0.02)
    beside.rename(saves / str(step))
    for old in sorted(int(p.name) for p in saves.iterdir())[:-2]:
        shutil.rmtree(saves / str(old))

def main():
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text('{"status": "running"}')
    for signum in (signal.SIGTERM, signal.SIGINT):
        listen = lambda n, _: received.append(n)
        signal.signal(signum, signal.SIG_IGN if fault == "stubborn" else listen)
    print("compiling", file=sys.stderr, flush=True)
    for rest in saves.glob(".tmp-*"):
        shutil.rmtree(rest)
    found = sorted(int(p.name) for p in saves.glob("*"))
    step = found[-1] if found else 0
    value = int((saves / str(step) / "state").read_text()) if step else 1
    if fault == "forgetful":
        value = 1
    kept = lines.read_text().splitlines(True) if lines.exists() else []
    lines.write_text("".join(x for x in kept if json.loads(x)["step"] <= step))
    while step < 60:
        step, value = step + 1, value * 31 % 1000003
        time.sleep(0.01)
        with lines.open("a") as file:
            row = {"step": step, "value": value, "seconds": random.random()}
            file.write(json.dumps(row) + "\\n")
        if step % 5 == 0 or received:
            save(step, value)
        if received:
            sys.exit(128 + received[0])
    (folder / "genotype.json").write_text(str(value))
    result = json.dumps({"x": value, "seconds": time.time()})
    (folder / "result.json").write_text(result)
    (folder / "run.json").write_text('{"status": "finished"}')

try:
    main()
except OSError as error:
    told = f"{error.filename or saves} has 0 bytes free" if fault != "silent" else "no"
    print(told, file=sys.stderr)
    sys.exit(1)
"""


def stand_in(fault):
    """Returns a kind of run with that fault, or none."""
    return kinds.Kind(f"stand_in_{fault}", (sys.executable, "-c", STAND_IN, fault))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A place for two trials at a time."""
    folder = tmp_path_factory.mktemp("endurance")
    return undisturbed.Place(folder, folder / "logs", folder / "cache", 2)


@pytest.fixture(scope="module")
def whole(place):
    """The undisturbed stand-in."""
    return undisturbed.measure(stand_in("none"), place)


def with_fault(whole, fault):
    """Returns the undisturbed stand-in with a fault for those that are disturbed."""
    return whole._replace(kind=stand_in(fault))


def test_an_undisturbed_run_is_measured(whole):
    """Time is left out; all else is compared."""
    assert whole.num_steps == 60 and 0 < whole.first < whole.seconds
    assert whole.final["status"] == "finished"
    assert whole.final["files"] == sorted(
        ["checkpoints", "genotype.json", "metrics.jsonl", "result.json", "run.json"]
    )
    assert whole.final["metrics.jsonl"][0] == {"step": 1, "value": 31}


def test_what_differs_is_named(whole):
    """Each file and the state; lines of equal steps; steps that come twice."""
    old = whole.final
    rows = old["metrics.jsonl"]
    assert finals.differences(old, old) == []
    assert finals.differences(old | {"metrics.jsonl": rows[1:]}, old) == []
    changes = {
        "state": ("x", "state"),
        "genotype.json": ("x", "genotype.json"),
        "files": ([], "files"),
        "metrics.jsonl": ([rows[0], *rows], "metrics.jsonl: step does not increase"),
        "weights.jsonl": ([], "weights.jsonl exists in only one run"),
    }
    for name, (value, told) in changes.items():
        assert finals.differences(old | {name: value}, old) == [told]
    other = [*rows[:-1], rows[-1] | {"value": 0}]
    told = ["metrics.jsonl: step 60 differs"]
    assert finals.differences(old | {"metrics.jsonl": other}, old) == told
    told = ["metrics.jsonl: ends at a different step"]
    assert finals.differences(old | {"metrics.jsonl": rows[:-1]}, old) == told


def test_kills_survived_and_not(whole, place):
    """One that forgets its state when it goes on comes to something else."""
    found = kills.trials(whole, place, num_trials=4, seed=0)
    row = kills.row(whole, found)
    assert row["tried"] == row["survived"] == 4 and row["kills"] >= 4
    assert row["kills_after_a_checkpoint"] >= 1 and row["wrong"] == []
    # a kill in its first steps leaves nothing to forget: some of many are later
    late = with_fault(whole, "forgetful")._replace(first=0.6 * whole.seconds)
    for seed in range(10):
        (one,) = kills.trials(late, place, num_trials=1, seed=seed)
        if any("state" in line for line in one.wrong):
            return
    raise AssertionError("ten kills, and nobody saw that the state was forgotten")


def test_signals_survived_and_not(whole, place):
    """The judge says yes and no; a stand-in may be too quick for a moment aimed at."""

    def one(kind, seed):
        (found,) = stops.trials(kind, place, num_trials=1, seed=seed)
        return found

    assert any(not one(whole, seed).wrong for seed in range(5))
    deaf = with_fault(whole, "stubborn")
    told = (one(deaf, seed).wrong for seed in range(5))
    assert any("status 0 after" in line for lines in told for line in lines)


def test_random_damage_is_seen_and_named(place, whole):
    """All kinds of it, as often as there are kinds of files and more."""
    row = damage.look(place.folder / whole.kind.name, num_trials=40, seed=1)
    assert row["tried"] == row["survived"] == 40, row["wrong"]


def test_damage_that_nobody_sees_is_counted(place, whole, monkeypatch):
    """With the verification taken out."""
    read = damage.manifest.read
    monkeypatch.setattr(damage.manifest, "verify", read)
    row = damage.look(place.folder / whole.kind.name, num_trials=10, seed=1)
    assert 0 < row["survived"] < 10 and "took 60" in row["wrong"][0]


def test_a_full_disk_survived_and_not(place, whole, tmp_path):
    """One that does not name path and bytes is told of; skipped without a tmpfs."""
    with disk.small_disk(tmp_path / "disk") as mounted:
        if mounted is None:
            pytest.skip("a tmpfs cannot be mounted here")
        disk.fill(mounted, 4096)
        assert disk.shutil.disk_usage(mounted).free == 4096
    row = disk.trials(whole, place, num_trials=1, seed=0)
    assert row["tried"] == row["survived"] == 1, row["wrong"]
    row = disk.trials(with_fault(whole, "silent"), place, num_trials=1, seed=0)
    assert row["survived"] == 0 and "did not name path" in row["wrong"][0]


def test_a_save_that_does_not_fit_is_one_line(tmp_path, caplog):
    """Wherever in a checkpoint the disk is full; the older step stays."""
    with disk.small_disk(tmp_path / "disk") as mounted:
        if mounted is None:
            pytest.skip("a tmpfs cannot be mounted here")
        saves, state = checkpoint.Checkpoints(mounted / "saves"), {"x": jnp.zeros(1)}
        saves.save(1, state, {})
        for leave in range(0, 24_577, 8192):
            disk.fill(mounted, leave)
            with pytest.raises(files.RunError, match=r"/saves/2'.* bytes free"):
                saves.save(2, state, {})
            (mounted / "fill").unlink()
        assert saves.latest().step == 1 and caplog.text == ""


def test_races(tmp_path):
    """One winner each time, the losers told who, and free after kill -9."""
    row = races.forked(tmp_path, num_races=4)
    assert row["tried"] == row["survived"] == 4, row["wrong"]
    assert row["longest_refusal"] < races.LIMIT


@pytest.mark.usefixtures("compiled_anew")
def test_soak(tmp_path):
    """A discrete search's loop compiles nothing and opens nothing once it is warm."""
    row = soak.soak("discrete", tmp_path, num_steps=120, checkpoint_steps=20)
    assert row["steps"] == 120 and not list(tmp_path.iterdir())
    assert row["compiled_after_warm_up"] == 0 and row["open_files"] < 50
    assert not any("files" in line or "compiled" in line for line in row["wrong"])


def test_what_grows_in_a_soak_is_told():
    """2 MB per 1,000 steps, a program, a file."""
    draw = random.Random(0)
    samples = [
        soak.Sample(i, 10**8 + 2000 * i + draw.randrange(10**5), 9 + i // 900, i // 800)
        for i in range(1, 1001)
    ]
    assert soak.slope(samples) == pytest.approx(2.0, abs=0.05)
    told = soak._judge("x", samples, 1.0)["wrong"]
    assert [line.partition(": ")[2] for line in told] == [
        f"memory grows by {soak.slope(samples[300:]):.2f} MB per 1,000 steps",
        "1 programs were compiled after the warm-up",
        "from 9 to 10 files were open",
    ]


def test_a_parser_that_fails_otherwise_is_told_of(tmp_path, monkeypatch):
    """The right one is tried in genotype_test."""

    def reader(text, *, operations):
        return {}[len(text)]

    monkeypatch.setattr(parser.genotype_text, "from_json", reader)
    row = parser.search(20, tmp_path, seed=0)
    assert row["survived"] < row["tried"] and "KeyError" in row["wrong"][0]


def test_a_search_survives_a_kill(place):
    """The launcher itself, at its smallest."""
    kind = kinds.prepare(place.folder, ROOT / "experiments")[kinds.SEARCH]
    line = [one for one in kind.line if not one.startswith(("--epochs", "--checkp"))]
    kind = kind._replace(line=(*line, "--epochs=12", "--checkpoint_steps=7"))
    name, place = "small", place._replace(num_processes=1)
    final = undisturbed.finish(place.run(kind.line, name))
    assert {"weights.jsonl", "report.html", "cell.svg"} <= set(final["files"])
    whole = undisturbed.Undisturbed(kind, final, 120, 0.0, 1.0)
    process = place.run(kind.line, "killed")
    undisturbed.wait_for_share(process, whole, 0.3)
    assert process.kill() and finals.steps(process.workdir)[-1] > 36
    assert kills.compare(whole, place, "killed") == []
