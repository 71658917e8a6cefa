"""Kills, stops, damages and races small runs, and counts how many survive.

    python experiments/endurance.py --workdir=/tmp/endurance

Runs of every kind are started as a user starts them, disturbed, and resumed by the same
command; their results are compared with those of an undisturbed run, bit by bit except
for measured time. --trials=20 means 20 of each kind for ``kills`` and ``signals``, 4
for ``disk``, 100 damages, 50 races, 10,000 steps of each loop for ``soak``, 100,000
inputs for ``genotypes``, and in proportion otherwise. ``disk`` mounts a small tmpfs as
root.
Prints a table, then one JSON object. The exit status is 1 if a run did not survive;
its workdir stays. Needs a checkout: an installed jnas leaves jnas.endurance out.
"""

import json
import pathlib
import sys

from absl import flags

from jnas import registry, report, run
from jnas.endurance import (
    damage,
    disk,
    kills,
    kinds,
    parser,
    races,
    soak,
    stops,
    undisturbed,
)

WHAT = ("kills", "signals", "damage", "disk", "races", "soak", "genotypes")

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "workdir", None, "Folder for all runs; anything in it may be overwritten."
)
flags.mark_flag_as_required("workdir")
flags.DEFINE_list("what", list(WHAT), "Kinds of trial, comma-separated.")
flags.DEFINE_list(
    "kinds", list(kinds.NAMES), "Kinds of run that are tried, comma-separated."
)
flags.DEFINE_integer(
    "trials", 20, "Trials of each kind; other counts are in proportion.", lower_bound=1
)
flags.DEFINE_integer(
    "num_processes", 2, "Number of trials that run at a time.", lower_bound=1
)
flags.DEFINE_integer("seed", 0, "Seed of moments, damages and inputs.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Tries, prints, and fails if anything was not survived."""
    check("what", FLAGS.what, WHAT)
    check("kinds", FLAGS.kinds, kinds.NAMES)
    rows = []
    for row in tried():
        rows.append(row)
        counts = {k: v for k, v in row.items() if k not in ("trial", "wrong")}
        print(f"{row['trial']}: {counts}", file=sys.stderr, flush=True)
    counts = [[row["trial"], row["tried"], row["survived"]] for row in rows]
    print(report.markdown(report.Table(("trial", "tried", "survived"), counts)))
    wrong = [line for row in rows for line in row["wrong"]]
    print(*wrong, json.dumps(rows), sep="\n")
    return int(any(row["survived"] < row["tried"] or row["wrong"] for row in rows))


def check(name, given, known):
    """Refuses an unknown name."""
    for one in given:
        if one not in known:
            raise ValueError(
                f"{name} must be some of {', '.join(known)}, got {one!r}. "
                f"{registry.nearest(one, known)}"
            )


def tried():
    """Yields a row of counts for each trial, as it ends."""
    folder, seed, num = pathlib.Path(FLAGS.workdir).absolute(), FLAGS.seed, FLAGS.trials
    place = undisturbed.Place(
        folder, folder / "logs", folder / "cache", FLAGS.num_processes
    )
    lines = kinds.prepare(folder / "inputs", pathlib.Path(__file__).parent)
    of_kinds = [w for w in FLAGS.what if w not in ("soak", "genotypes")]
    for name in FLAGS.kinds if of_kinds else ():
        whole = undisturbed.measure(lines[name], place)
        how = {"num_trials": num, "seed": seed}
        if "kills" in of_kinds:
            yield kills.row(whole, kills.trials(whole, place, **how))
        if "signals" in of_kinds:
            yield stops.row(whole, stops.trials(whole, place, **how))
        few = {"num_trials": -(-num // 5), "seed": seed}
        if "disk" in of_kinds:
            yield disk.trials(whole, place, **few)
        if name == FLAGS.kinds[0]:
            yield from of_one_kind(whole, place, of_kinds, num, seed)
    if "soak" in FLAGS.what:
        for name in soak.loops():
            yield soak.soak(name, folder, num_steps=500 * num)
    if "genotypes" in FLAGS.what:
        yield parser.search(5000 * num, folder, seed=seed)


def of_one_kind(whole, place, what, num, seed):
    """Yields the rows of what one kind of run stands for."""
    few = -(-num // 5)
    if "damage" in what:
        yield damage.look(place.folder / whole.kind.name, num_trials=5 * num, seed=seed)
        yield damage.resume(whole, place, num_trials=few, seed=seed)
        yield damage.refuse(whole, place, seed=seed)
    if "races" in what:
        yield races.forked(place.folder, num_races=-(-5 * num // 2))
        yield races.launchers(whole, place, num_races=few)


if __name__ == "__main__":
    run.launch(main)
