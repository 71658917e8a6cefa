"""auto: rules, the plan's arithmetic, the clock, the choice, and the whole way."""

import dataclasses
import itertools
import json
import math
import os
import pathlib

import forks
import jax
import made_models
import numpy as np
import pytest
from PIL import Image

import jnas
from jnas import data, models, networks, run, spaces
from jnas.spaces import genotype_text
from jnas.studies import auto, cells
from jnas.studies.auto import choice, commands, reading, rules, width
from jnas.studies.auto import plan as plan_lib
from jnas.studies.auto import run as run_lib
from jnas.studies.auto import steps as steps_lib

COMPACT = spaces.zoo.compact()
CELL = COMPACT.genotype(np.full(len(COMPACT.sizes), 2))
GRID = [
    rules.Facts(*one)
    for one in itertools.product(
        (2, 100, 1_999, 2_000, 19_999, 20_000, 10**7),
        (2, 49, 50, 1000),
        (1, 8, 64, 65, 224),
        (0.1, 2.9, 4.99, 5, 60, 10_000),
        ("cpu", "gpu", "tpu"),
    )
]
MEASURED = [
    plan_lib.Measured(*one)
    for one in itertools.product((0.5, 8.0, 40.0), (1e-3, 0.05, 0.5), (1.0, 6.0))
]
FEW = next(one for one in rules.RULES if one.name == "few images")
NARROW = dataclasses.replace(FEW, train_features=FEW.features)


def work(rule=FEW, images=480):
    """Returns what seconds depend on."""
    return plan_lib.Work(rule, images, plan_lib.batch_size(rule.batch_size, images))


def test_every_rule_is_reached_and_one_always_holds():
    """Over data, minutes and devices; every row says what justifies it."""
    found = {rules.choose(facts).name for facts in GRID}
    assert found == {rule.name for rule in rules.RULES}
    assert rules.RULES[-1].conditions() == "always"
    assert all(rule.because and rule.holds for rule in rules.RULES)


def test_conditions_hold_as_they_read():
    """Each range from its first number, included, to its second, excluded."""
    rule = rules.Rule(
        "one", "none", images=(10, 20), classes=(2, 3), side=(8, 9), devices=("cpu",)
    )
    base = rules.Facts(10, 2, 8, 1.0, "cpu")
    assert rule.holds(base) and rule.holds(base._replace(images=19))
    for change in (
        {"images": 9}, {"images": 20}, {"classes": 3}, {"side": 9}, {"device": "gpu"},
    ):  # fmt: skip
        assert not rule.holds(base._replace(**change))
    assert rule.conditions().startswith("images >= 10, images < 20, classes >= 2")


def test_every_size_of_pictures_is_reached():
    """Of minutes and devices."""
    minutes, devices = (0.1, 2.9, 3, 59, 60, 1e6), ("cpu", "gpu", "tpu")
    found = {rules.side(*one) for one in itertools.product(minutes, devices)}
    assert found == {row.side for row in rules.SIDES}


def test_the_table_marks_the_row_that_is_used():
    """One arrow, every name and reason."""
    text = rules.text(FEW)
    assert text.count("->") == 1 and f"-> {FEW.name}: " in text
    assert all(one.name in text and one.because in text for one in rules.RULES)
    assert all(f" {one.side} pixels: " in text for one in rules.SIDES)
    assert all(one.because in text for one in rules.SIDES)


def test_a_batch_is_at_most_a_quarter_of_the_images():
    """And at least two."""
    for wanted, images in itertools.product((2, 32, 64, 128), range(2, 700)):
        found = plan_lib.batch_size(wanted, images)
        assert 2 <= found <= wanted and (found <= images / 4 or found == 2)
        assert found == wanted or images // 4 < wanted


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda one: one.name)
def test_what_is_dropped_first(rule):
    """Tuning before seeds, seeds before baselines, baselines before finalists."""
    found = plan_lib.structures(rule)
    whole = found[0]
    assert whole.trials == rule.trials and whole.baselines == rule.baselines
    assert len(set(found)) == len(found)
    for one in found:
        if one.seeds < whole.seeds:
            assert one.trials == 0
        if one.baselines != whole.baselines:
            assert one.seeds == 1
            assert one.baselines == whole.baselines[: len(one.baselines)]
        if one.finalists < whole.finalists:
            assert one.baselines == ()
    least = found[-1]
    assert (least.trials, least.seeds, least.baselines) == (0, 1, ())


def test_the_seconds_of_a_comparison():
    """Four networks of three seeds, 12 batches of 32 among 384 images, 20 epochs."""
    amounts = plan_lib.Amounts(10, 20, 0, 3, 9, ("a", "b", "c"))
    measured = plan_lib.Measured(8.0, 0.05, 2.0)
    costs = rules.COSTS
    steps = 20 * (384 // 32) * 3 * (1 + 3 * costs.baseline_step)
    found = plan_lib.seconds("retrain", amounts, work(), measured)
    assert found == pytest.approx(2 + 4 * costs.training_compile * 8 + steps * 0.05)
    # 9 trials for 2 epochs, 3 for 4 more, 1 for 14 more
    steps = (9 * 2 + 3 * 4 + 1 * 14) * (384 // 32)
    tuned = plan_lib.seconds("tune", amounts, work(), measured)
    assert tuned == pytest.approx(2 + costs.tuning_compile * 8 + steps * 0.05)
    searched = plan_lib.seconds("search", amounts, work(), measured)
    steps = 10 * (240 // 32) * costs.search_step
    assert searched == pytest.approx(2 + costs.search_compile * 8 + steps * 0.05)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda one: one.name)
def test_a_plan_never_exceeds_its_seconds_and_uses_them(rule):
    """Nothing fits exactly where less than the fewest seconds are left."""
    for measured, images, budget in itertools.product(
        MEASURED, (20, 480, 4_000, 60_000), (10, 60, 300, 600, 5_000)
    ):
        what = work(rule, images)
        need = plan_lib.needed(what, measured)
        found = plan_lib.fit(budget, what, measured)
        assert (found is None) == (need > budget)
        if found is None:
            continue
        whole = plan_lib.total(plan_lib.STEPS, found, what, measured)
        assert need <= whole <= budget
        if found.epochs < rule.epochs[1]:  # one more of everything is too much
            more = found._replace(
                epochs=found.epochs + 1, search_epochs=found.search_epochs + 1
            )
            assert plan_lib.total(plan_lib.STEPS, more, what, measured) > budget
        richer = plan_lib.structures(rule)
        richer = richer[
            : [one[2:] for one in richer].index(found[2:])
        ]  # each of them is too much
        for one in richer:
            assert plan_lib.total(plan_lib.STEPS, one, what, measured) > budget


def test_what_a_later_plan_has_more_and_less_of():
    """In words; nothing of equal ones."""
    more = plan_lib.Amounts(10, 30, 0, 3, 9, ("a", "b"))
    less = plan_lib.Amounts(10, 20, 0, 1, 0, ("a",))
    assert plan_lib.dropped(more, more) == plan_lib.added(more, more) == ""
    assert (
        plan_lib.dropped(more, less) == "no tuning, 1 of 3 seeds, no b, 20 of 30 epochs"
    )
    said = "a tuning, 3 instead of 1 seeds, b, 30 instead of 20 epochs"
    assert plan_lib.added(less, more) == said
    assert plan_lib.dropped(less, more) == plan_lib.added(more, less) == ""


class Machine:
    """A machine of its own clock: it writes what steps leave, and takes their time."""

    def __init__(
        self, folder, measured, *, slow=1.0, stop=None, slow_of="", kill=False
    ):
        """Steps take ``slow`` times what is planned; ``stop`` raises in that one.

        With ``kill`` it ends as by kill -9: nothing is noted of it any more.
        """
        self.kill = kill
        self.now, self.folder, self.measured = 100.0, folder, measured
        self.slow, self.stop, self.calls, self.slow_of = slow, stop, [], slow_of

    def runner(self):
        """Returns how steps are run."""
        return steps_lib.Runner(self.call, self.output, lambda: self.now)

    def output(self, launcher, flags):
        """The probe."""
        del launcher, flags
        self.now += sum(self.measured) - self.measured.step
        values = {"compile": self.measured.compiling, "step": self.measured.step}
        return json.dumps(values | {"macs": 10**6, "seconds": self.measured.compiling})

    def call(self, launcher, flags, seconds):
        """A step: its planned seconds are in the log."""
        state = json.loads((self.folder / steps_lib.STATE).read_text())
        step = state["steps"][-1]
        assert step["flags"] == list(flags) and step["launcher"] == launcher
        if step["name"] == self.stop:
            self.now += 1
            if self.kill:
                self.killed = (self.folder / steps_lib.STATE).read_text()
            raise KeyboardInterrupt
        # a plan of later steps knows already how slow the search was
        slow_of = self.slow_of or ("search" if self.slow > 1 else step["name"])
        slow = self.slow if slow_of == step["name"] else 1.0
        took = 5.0 if "--allow_changed" in flags else step["planned"] * slow
        self.calls.append((step["name"], tuple(flags)))
        place = self.folder / step["name"]
        (place / "models/plain_cnn").mkdir(parents=True, exist_ok=True)
        if seconds is not None and took > seconds:
            self.now += seconds
            return steps_lib.STOPPED
        self.now += took
        result = {"valid_accuracy": 0.5, "test_accuracy": 0.5}
        (place / "result.json").write_text(json.dumps(result))
        (place / "genotype.json").write_text(genotype_text.to_json(CELL))
        return 0


def pictures(images=480, side=8, classes=5):
    """Returns noise in classes of one size."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (images, side, side, 3), np.uint8)
    y = np.arange(images, dtype=np.int32) % classes
    return data.Dataset("noise", x, y, x[:classes], y[:classes], classes)


def setting_of(folder, minutes, **bounds):
    """Returns a setting with the rule of few images."""
    read = reading.Read("npz:noise.npz", pictures(), ())
    wanted = auto.AutoSettings(minutes=minutes, **bounds)
    made = auto.prepare(
        wanted, read, {"data": read.spec}, folder=str(folder), device="cpu"
    )
    return made._replace(asked=made.asked._replace(rule=NARROW))


def go(folder, minutes, measured, **how):
    """Goes through all steps; returns the machine, its seconds and what was done."""
    made = Machine(folder, measured, **how)
    began = made.now
    with run.open_run(folder) as r:
        steps = run_lib.Auto(r, setting_of(folder, minutes), made.runner(), began=began)
        done = steps.go()
    return made, made.now - began, done, steps


@pytest.mark.parametrize("minutes", [3, 10, 30])
@pytest.mark.parametrize("slow", [0.5, 1.0, 1.12])
def test_it_keeps_to_its_minutes(tmp_path, minutes, slow):
    """On a machine as fast as measured, and on one that is 12 % slower."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    _, seconds, done, steps = go(tmp_path, minutes, measured, slow=slow)
    assert seconds <= 60 * minutes and {"search", "retrain"} <= set(done)
    assert steps.used == pytest.approx(seconds)


@pytest.mark.parametrize("slow", [1.5, 2.5])
def test_a_slow_machine_does_less_and_says_so(tmp_path, slow, capsys):
    """Fewer epochs, then no tuning; the comparison is whole."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    _, whole, _, quick = go(tmp_path / "quick", 6, measured)
    made, seconds, done, steps = go(tmp_path / "slow", 6, measured, slow=slow)
    assert seconds <= 1.2 * 360 and whole <= 360
    names = [name for name, _ in made.calls]
    assert names[:2] == ["search", "retrain"]
    assert not quick.left_out and steps.left_out
    assert steps.left_out[0].startswith("the minutes left allow less than planned")
    assert not any("the minutes are over" in line for line in steps.left_out)
    said = capsys.readouterr().err
    assert all(line in said for line in steps.left_out)
    assert ("tuned" in done) == (slow < 2)  # first epochs, then the tuning
    assert ("epochs" if slow < 2 else "no tuning") in steps.left_out[0]


@pytest.mark.parametrize("minutes", [4, 5])
def test_time_is_kept_for_measuring_latencies(tmp_path, minutes):
    """Of each trained network, at the end, where latency is limited."""
    made = Machine(tmp_path, plan_lib.Measured(6.0, 0.02, 2.0))
    setting, began = setting_of(tmp_path, minutes, max_latency_ms=9.0), made.now
    with run.open_run(tmp_path) as r:
        run_lib.Auto(r, setting, made.runner(), began=began).go()
    ending = plan_lib.latencies(setting.work)
    assert ending >= 2 * rules.COSTS.network_latency
    assert 0.6 * 60 * minutes < made.now - began + ending <= 60 * minutes
    assert plan_lib.latencies(setting_of(tmp_path, minutes).work) == 0


def test_a_comparison_is_closed_when_the_minutes_are_over(tmp_path):
    """With the baselines that are trained by then; a later process does the same."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    made, seconds, done, steps = go(tmp_path, 6, measured, slow=3.0, slow_of="retrain")
    assert set(done) == {"search", "retrain"} and seconds <= 1.2 * 360
    flags = made.calls[-1][1]
    assert {"--baselines=plain_cnn", "--allow_changed"} <= set(flags)
    assert sum(flag.startswith("--baselines=") for flag in flags) == 1
    assert "the minutes are over: no resnet, mobilenet_v2" in steps.left_out
    again, _, _, later = go(tmp_path, 6, measured)
    assert not again.calls and later.commands() == steps.commands()


def test_too_few_minutes_are_refused_with_those_that_suffice(tmp_path):
    """And with them it runs."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    with pytest.raises(ValueError, match=r"minutes must be at least [\d.]+ for") as e:
        go(tmp_path / "few", 0.3, measured)
    least = float(str(e.value).split("at least ")[1].split()[0])
    assert 0.3 < least < 3
    _, seconds, done, _ = go(tmp_path / "enough", least, measured)
    assert set(done) == {"search", "retrain"} and seconds <= 60 * least


@pytest.mark.parametrize("stop", plan_lib.STEPS)
def test_a_stopped_run_goes_through_the_same_commands(tmp_path, stop):
    """Steps that ended are not run again; what a step has used is counted."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    whole, _, _, undisturbed = go(tmp_path / "whole", 12, measured)
    assert [name for name, _ in whole.calls] == list(plan_lib.STEPS)
    folder = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        go(folder, 12, measured, stop=stop)
    made, _, done, steps = go(folder, 12, measured)
    place = plan_lib.STEPS.index(stop)
    assert [name for name, _ in made.calls] == list(plan_lib.STEPS[place:])
    wanted = [one.replace("/whole/", "/again/") for one in undisturbed.commands()]
    assert steps.commands() == wanted and set(done) == set(plan_lib.STEPS)
    assert steps.used > made.now - 100  # the earlier process's seconds too


def test_the_seconds_of_a_step_that_was_killed_are_counted(tmp_path):
    """From its begin to the last write in its folder, once; not from an old file."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    made = Machine(tmp_path, measured, stop="retrain", kill=True)
    with pytest.raises(KeyboardInterrupt), run.open_run(tmp_path) as r:
        run_lib.Auto(r, setting_of(tmp_path, 12), made.runner(), began=made.now).go()
    # as kill -9 leaves it: a step without seconds, and what it has written
    (tmp_path / steps_lib.STATE).write_text(made.killed)
    log = json.loads(made.killed)
    began = log["steps"][1]["began"]
    assert "seconds" not in log["steps"][1]
    for name, seconds in (("old.txt", -50.0), ("a/metrics.jsonl", 37.0)):
        path = tmp_path / "retrain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (began + seconds, began + seconds))
    for _ in range(2):
        with run.open_run(tmp_path) as r:
            steps = run_lib.Auto(r, setting_of(tmp_path, 12), made.runner(), began=0.0)
            assert steps.log.step("retrain")["seconds"] == pytest.approx(37, abs=0.02)
            steps.log.save()
    assert steps.log.used == pytest.approx(
        37 + log["probe_seconds"] + log["steps"][0]["seconds"], abs=0.1
    )


def test_a_tuning_begins_only_with_time_for_its_network_too(tmp_path):
    """Whatever is left after the comparison; then the network is trained, in time."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    seen = set()
    for number, slow in enumerate(np.linspace(1, 1.6, 7)):
        _, seconds, done, steps = go(
            tmp_path / str(number), 6, measured, slow=slow, slow_of="retrain"
        )
        assert ("tune" in done) == ("tuned" in done) and seconds <= 360
        seen.add("tune" in done)
        if "tune" not in done:
            assert "tuning is left out: with the training of" in steps.left_out[-1]
    assert seen == {True, False}


def test_a_slow_tuning_leaves_time_for_its_network(tmp_path):
    """With fewer seeds, where all would not fit; a very slow one is stopped in time."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    seeds = []
    for number, slow in enumerate((1.0, 2.5, 3.5, 9.0)):
        _, seconds, done, steps = go(
            tmp_path / str(number), 5, measured, slow=slow, slow_of="tune"
        )
        assert seconds <= 300
        begun = steps.log.step("tuned")
        flags = begun["flags"] if begun else []
        given = [int(one[12:]) for one in flags if one.startswith("--num_seeds=")]
        seeds.append((given or [1])[0] if begun else 0)
        assert (begun is not None) == ("tune" in done)
    assert seeds[0] == 3 and seeds[-1] == 0 and seeds == sorted(seeds, reverse=True)


def test_a_tuning_that_was_not_planned_is_done_where_there_is_time(tmp_path, capsys):
    """After a comparison that was faster; it is then not said to be left out."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    found = {}
    for number, minutes in enumerate(np.arange(2.2, 4.0, 0.2)):
        _, seconds, done, steps = go(
            tmp_path / str(number), float(minutes), measured, slow=0.5,
            slow_of="retrain",
        )  # fmt: skip
        assert seconds <= 60 * minutes
        planned = steps.log.content["later"]["trials"]
        found.setdefault((planned > 0, "tuned" in done), steps)
        assert not ("tune" in done and "no tuning" in " ".join(steps.left_out))
    assert (False, True) in found, found


def test_a_quick_search_gives_the_trainings_more(tmp_path, capsys):
    """More epochs or seeds than planned; they are said, and nothing is left out."""
    measured = plan_lib.Measured(6.0, 0.05, 2.0)
    made, seconds, _, steps = go(tmp_path, 7, measured, slow=0.3, slow_of="search")
    log = steps.log.content
    first, later = (plan_lib.Amounts(**log[one]) for one in ("plan", "later"))
    assert plan_lib.added(first, later) and seconds <= 420
    assert "the minutes left allow more than planned: " in capsys.readouterr().err
    assert not steps.left_out
    del made


def test_a_resumed_run_trains_as_long_as_it_began_to(tmp_path):
    """The minutes that are left then do not change the epochs of later trainings."""
    measured = plan_lib.Measured(6.0, 0.05, 2.0)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, 12, measured, stop="tune", slow=1.1)
    log = json.loads((tmp_path / steps_lib.STATE).read_text())
    log["steps"][1]["seconds"] += 60.0  # as if the comparison had taken longer
    (tmp_path / steps_lib.STATE).write_text(json.dumps(log))
    _, _, _, steps = go(tmp_path, 14, measured)
    epochs = [
        {one for one in step["flags"] if one.startswith(("--epochs=", "--num_seeds="))}
        for step in steps.log.content["steps"]
        if step["launcher"] == "retrain"
    ]
    assert len(epochs) == 2 and epochs[0] == epochs[1]


def test_a_run_of_other_limits_is_refused(tmp_path):
    """Other minutes, and flags that do not decide a result, are allowed."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, 12, measured, stop="retrain")
    made = Machine(tmp_path, measured)
    with run.open_run(tmp_path) as r:
        other = setting_of(tmp_path, 12, max_parameters=9_000.0)
        with pytest.raises(run.RunError, match="bounds.*9000"):
            run_lib.Auto(r, other, made.runner(), began=made.now)
        free = setting_of(tmp_path, 12)
        shared = {**free.asked.shared, "cache": False, "checkpoint_seconds": 5.0}
        free = free._replace(asked=free.asked._replace(shared=shared))
        run_lib.Auto(r, free, made.runner(), began=made.now)
    go(tmp_path, 14, measured)


def test_a_step_that_fails_ends_the_run(tmp_path):
    """With its name; the next process tries it again."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    made = Machine(tmp_path, measured)
    broken = made.runner()._replace(call=lambda *_: 1)
    with run.open_run(tmp_path) as r:
        steps = run_lib.Auto(r, setting_of(tmp_path, 12), broken, began=made.now)
        with pytest.raises(run.RunError, match="step search must end well, got exit"):
            steps.go()
    assert set(go(tmp_path, 12, measured)[2]) == set(plan_lib.STEPS)


def test_flags_of_the_machine_reach_every_step_that_has_them():
    """Devices reach all; images that are read when needed, all but the tuning."""
    shared = {"data": "digits", "num_devices": 2, "resident": "no", "chunk_steps": 8}
    asked = commands.Asked("runs/a", shared, FEW, {}, 32)
    amounts = plan_lib.Amounts(10, 27, 4, 2, 9, ())
    for step in plan_lib.STEPS:
        flags = set(commands.flags(step, asked, amounts, 12))
        streamed = {"--resident=no", "--chunk_steps=8"}
        assert "--num_devices=2" in flags
        assert streamed & flags == (streamed if step != "tune" else set())


def test_commands_have_what_a_user_would_type():
    """Data, limits and numbers of the rule; each in a folder of its own."""
    asked = commands.Asked(
        "runs/a", {"data": "folder:my photos", "seed": 3}, FEW, {"macs": 5e6}, 32
    )
    amounts = plan_lib.Amounts(10, 27, 4, 2, 9, ("resnet", "plain_cnn"))
    found = {s: commands.flags(s, asked, amounts, 12) for s in plan_lib.STEPS}
    for step, flags in found.items():
        assert flags[0] == f"--workdir=runs/a/{step}"
        assert {"--data=folder:my photos", "--seed=3", "--features=12"} <= set(flags)
    assert {"--max_macs=5000000", "--finalists=4"} <= set(found["search"])
    assert "--baselines=resnet,plain_cnn" in found["retrain"]
    assert {"--notest", "--trials=9", "--min_epochs=3"} <= set(found["tune"])
    assert not any(one.startswith("--learning_rate=") for one in found["tune"])
    assert "--settings=runs/a/tune/best.json" in found["tuned"]
    scored = {"--valid_rate=0.2", "--epochs=27"}
    assert all(scored <= set(found[step]) for step in plan_lib.STEPS[1:])
    shown = commands.shown("jnas search", found["search"])
    assert shown.startswith("jnas search --workdir=runs/a/search '--data=folder:my ")


SHARED = {"data": "digits", "seed": 1, "shrink": 2, "plugins": "a.py"}
SHARED |= {"num_devices": 2, "norm_group": "device", "deterministic": True}
SHARED |= {"resident": "no", "chunk_steps": 4, "cache": True}


def test_every_flag_of_every_rule_exists():
    """In the launcher's own list, so that no rule names what a step refuses."""
    known = {}
    for launcher in ("search", "retrain", "tune"):
        text = forks.launch(launcher, "--help").out
        known[launcher] = {
            w.strip(",").split("=")[0].replace("[no]", "")
            for w in text.split()
            if "--" in w
        }
    for rule, step in itertools.product(rules.RULES, plan_lib.STEPS):
        asked = commands.Asked(
            "a", SHARED, rule,
            {"parameters": 1.0, "macs": 1.0, "latency_ms": 1.0}, rule.batch_size,
        )  # fmt: skip
        amounts = plan_lib.structures(rule)[0]
        for flag in commands.flags(step, asked, amounts, 8):
            name, equals, _ = flag.partition("=")
            name = name if equals else name.replace("--no", "--")
            assert name in known[commands.launcher(step)], (rule.name, flag)


def compared(found, **others):
    """Returns result.json of a comparison by validation accuracies."""
    rows = [
        {"name": name, "valid_accuracy": valid, "test_accuracy": 0.5,
         "parameters": 900, "macs": 9_000}
        for name, valid in {"found": found, **others}.items()
    ]  # fmt: skip
    return rows[0] | {"cells": rows, "verdict": "V.", "best_baseline": "resnet"}


@pytest.mark.parametrize(
    ("valid", "bounds", "name"),
    [
        ((0.8, 0.7, 0.6), {}, "found"),
        ((0.7, 0.7, 0.7), {}, "found"),
        ((0.7, 0.9, 0.8), {}, "resnet"),
        ((0.7, 0.8, 0.9), {}, "tuned"),
        ((0.7, 0.9, 0.8), {"parameters": 899}, "tuned"),
        ((0.7, 0.9, 0.8), {"parameters": 900, "macs": 8_999}, "tuned"),
        ((0.7, 0.9, 0.6), {"latency_ms": 1.5}, "found"),
        ((0.7, 0.9, 0.6), {"latency_ms": 1.6}, "resnet"),
        ((0.7, 0.9, 0.8), {"parameters": 900, "macs": 9_000}, "resnet"),
    ],
)
def test_the_choice_is_by_validation_within_the_limits(valid, bounds, name):
    """Found, resnet and tuned; the found one of equal ones."""
    found, other, tuned = valid
    done = {
        "search": {},
        "retrain": compared(found, resnet=other),
        "tuned": {"valid_accuracy": tuned, "test_accuracy": 0.99},
    }
    took = {one: 1.6 for one in choice.models(done).values()}
    several = choice.candidates(done, bounds, took if "latency_ms" in bounds else {})
    assert [one.model for one in several] == list(choice.models(done).values())
    chosen = choice.choose(several)
    assert chosen.name == name
    said = choice.verdict(chosen, several, done["retrain"])
    assert said.startswith("Chosen by validation accuracy: ")
    exceeded = bool(bounds) and bounds.get("macs") != 9e3
    exceeded &= bounds.get("latency_ms") != 1.6
    assert ("could not be chosen" in said) == exceeded
    assert not exceeded or "its " in said and " exceed " in said
    folder = {"found": "retrain/model", "tuned": "tuned/model"}
    assert chosen.model == folder.get(name, "retrain/models/resnet")
    if name == "tuned":
        assert "0.9900" in said  # compared with the baselines anew
    else:
        assert said.endswith("V.")


def test_a_found_network_that_is_measured_too_slow_is_not_chosen():
    """The table of latencies said that it fits; where all are too slow, it is said."""
    done = {"search": {}, "retrain": compared(0.9, resnet=0.8)}
    slow = {"retrain/model": 9.0, "retrain/models/resnet": 2.0}
    several = choice.candidates(done, {"latency_ms": 5.0}, slow)
    chosen = choice.choose(several)
    said = choice.verdict(chosen, several, done["retrain"])
    assert chosen.name == "resnet"
    assert "The found network could not be chosen: its 9 latency_ms exceed 5" in said
    several = choice.candidates(done, {"latency_ms": 1.0}, slow)
    chosen = choice.choose(several)
    said = choice.verdict(chosen, several, done["retrain"])
    assert chosen.name == "found" and "No network keeps the limits: its 9 lat" in said


def test_a_comparison_that_is_stopped_twice_allows_its_change_once():
    """The flag of the first time is not repeated."""
    given = ["--epochs=2", "--baselines=resnet,plain_cnn"]
    once = commands.with_baselines(given, ["resnet"])
    again = commands.with_baselines(once, ["resnet"])
    assert once == again == ["--epochs=2", "--baselines=resnet", "--allow_changed"]


def test_a_hand_made_network_is_measured_where_latency_is_limited(tmp_path):
    """Once a run, by a command; the milliseconds of each model's folder."""
    measured = plan_lib.Measured(6.0, 0.02, 2.0)
    _, _, done, steps = go(tmp_path / "free", 6, measured)
    assert steps.latencies(done) == {}
    done["retrain"] = compared(0.5, resnet=0.6)
    asked = []

    def output(launcher, flags):
        asked.append((launcher, *flags))
        found = next(one for one in flags if one.startswith("--latency_of="))
        return json.dumps({n: i for i, n in enumerate(found[13:].split(","))})

    places = ["retrain/model", "tuned/model", "retrain/models/resnet"]
    for one in places:
        (tmp_path / "run" / one).mkdir(parents=True)
    for _ in range(2):
        made = Machine(tmp_path / "run", measured)
        with run.open_run(tmp_path / "run") as r:
            setting = setting_of(tmp_path / "run", 6, max_latency_ms=9.0)
            runner = made.runner()._replace(output=output)
            one = run_lib.Auto(r, setting, runner, began=made.now)
            one.log.content["steps"] = [{"name": "search"}]  # else it begins anew
            assert one.latencies(done) == dict(zip(places, range(3), strict=True))
    assert len(asked) == 1 and asked[0][0] == "auto"


def test_the_latency_of_a_saved_baseline(tmp_path):
    """By the launcher, in milliseconds; it reads no data."""
    digits = made_models.digits()
    one = networks.Baseline("plain_cnn", 2, 10, digits.image_shape)
    params, stats = jax.jit(one.network().init)(jax.random.key(0))
    folder = tmp_path / "model"
    models.save(
        folder,
        models.Model(
            models.of_baseline(one),
            params,
            stats,
            models.of_dataset(digits, shrink=2),
            made_models.NAMES,
            {},
        ),
    )
    line = ["auto", f"--workdir={tmp_path}/a", f"--latency_of={folder}"]
    answer = forks.launch(*line, limit=300)
    assert answer.status == 0, answer.err
    (took,) = json.loads(answer.out).values()
    assert 0 < took < 1_000 and not (tmp_path / "a").exists()


def test_a_width_uses_the_limit_and_keeps_it():
    """By counting the networks: the next width exceeds it."""
    noise = pictures()
    for bound in (20_000, 60_000, 100_000):
        wanted = {"parameters": bound}
        searched = width.for_search(FEW, COMPACT, noise, wanted)
        trained = width.for_training(FEW, CELL, noise, wanted, 4)
        here, more = (
            width.counted(FEW, CELL, noise, one)["parameters"]
            for one in (trained, trained + 2)
        )
        assert here <= bound and (more > bound or trained >= FEW.most_features - 1)
        assert searched % 4 == 0 and 4 <= searched <= FEW.most_features
    assert width.for_search(FEW, COMPACT, noise, {}) == FEW.features
    assert width.for_training(FEW, CELL, noise, {}, 8) == FEW.train_features
    assert width.for_training(FEW, CELL, noise, {}, 32) == 32
    assert width.for_training(FEW, CELL, noise, {"latency_ms": 1.0}, 8) == 8
    with pytest.raises(ValueError, match="max_parameters must be at least"):
        width.for_search(FEW, COMPACT, noise, {"parameters": 50})


def test_the_first_plan_expects_the_work_of_wider_trainings():
    """More multiply-accumulates than nine of ten random cells have by count."""
    noise, wide = pictures(), FEW.train_features
    expected = width.likely_macs(FEW, COMPACT, noise, wide)
    drawn = cells.random_connected(COMPACT, 40, seed=1)
    counts = [width.counted(FEW, one, noise, wide)["macs"] for one in drawn]
    assert 0.75 <= np.mean(np.array(counts) <= expected) < 1
    measured, amounts = plan_lib.Measured(8.0, 0.05, 2.0), plan_lib.structures(FEW)[0]
    for step in ("retrain", "tune", "tuned"):
        seconds = [
            plan_lib.seconds(step, amounts, work()._replace(factor=f), measured)
            for f in (1.0, 2.0, 3.0)
        ]
        np.testing.assert_allclose(*np.diff(seconds))
        assert seconds[1] > seconds[0]


def write(folder, counts, sizes=((9, 12), (8, 8))):
    """Writes a folder of pictures: class -> number of them, of several sizes."""
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 90, (*sizes[i % len(sizes)], 3))
            pixels[..., label % 3] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def read(folder, **how):
    """Reads a folder as auto does."""
    return reading.read(
        f"folder:{folder}", 1, **({"minutes": 10, "device": "cpu"} | how)
    )


def test_pictures_get_a_size_where_they_need_one(tmp_path):
    """Of several sizes, or too large; those of one small size stay."""
    write(tmp_path / "a", {"x": 10, "y": 10})
    found = read(tmp_path / "a")
    assert found.spec.endswith("a?size=32") and found.dataset.image_shape == (32, 32, 3)
    assert "have several sizes" in found.notes[0]
    assert read(tmp_path / "a", minutes=1).spec.endswith("?size=24")
    write(tmp_path / "b", {"x": 10, "y": 10}, [(8, 8)])
    found = read(tmp_path / "b")
    assert found.spec.endswith("/b") and not found.notes
    write(tmp_path / "c", {"x": 10, "y": 10}, [(40, 30)])
    assert "have 40x30 pixels" in read(tmp_path / "c").notes[0]
    given = reading.read(f"folder:{tmp_path}/c?size=10", 1, minutes=9, device="cpu")
    assert given.dataset.image_shape == (10, 10, 3)


def test_what_is_said_of_the_data(tmp_path):
    """Counts a class; a warning of unequal classes, and only of those."""
    write(tmp_path / "a", {"x": 50, "y": 10})
    said = reading.describe(read(tmp_path / "a"))
    assert "48 training and 12 test images of 32x32x3, 2 classes" in said[0]
    assert "training images a class: x 40, y 8" in said
    assert said[-1].startswith("warning: the largest class has 5 times")
    write(tmp_path / "b", {"x": 20, "y": 10})
    assert "warning" not in " ".join(reading.describe(read(tmp_path / "b")))


@pytest.mark.parametrize(
    ("counts", "words"),
    [({"x": 10}, "class"), ({"x": 10, "y": 1}, "'y'"), ({"x": 10, "y": 2}, "'y'")],
)
def test_too_few_images_are_refused(tmp_path, counts, words):
    """One class, or a class without an image to train and one to choose by."""
    write(tmp_path / "a", counts, [(8, 8)])
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a")


def test_as_many_images_as_the_splits_need():
    """Three of a class can be divided as the steps divide them; two are refused."""
    y = np.array([0] * 20 + [1] * 3, np.int32)
    three = data.Dataset("three", np.zeros((23, 4, 4, 1)), y, *([None] * 2), 2)
    reading.check(three)
    rates = (plan_lib.SEARCH_RATE, plan_lib.VALID_RATE, plan_lib.FINALIST_RATE)
    for rate in rates:
        assert all(set(y[rows]) == {0, 1} for rows in data.stratified(0, y, rate))
    two = dataclasses.replace(three, y_train=y[:-1], class_names=("cat", "dog"))
    with pytest.raises(ValueError, match="at least 3 training images.*2 of 'dog'"):
        reading.check(two)
    with pytest.raises(ValueError, match="at least 2 classes"):
        reading.check(dataclasses.replace(three, num_classes=1))


WRONG = {
    "no folder": (["--data=folder:none"], "data must be an existing folder"),
    "minutes": (["--minutes=0"], "--minutes must be"),
    "a limit": (["--max_parameters=0"], "--max_parameters must be"),
    "a flag": (["--max_params=9"], "--max_parameters"),
    "a cell": (["--data=digits", "--max_parameters=10"], "max_parameters must be at l"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_wrong_flags(tmp_path, given, words):
    """One line each."""
    answer = forks.launch("auto", f"--workdir={tmp_path}/a", *given, limit=120)
    assert answer.status in (1, 2) and words in answer.err.splitlines()[-1], answer.err


def test_explain_prints_the_table_and_makes_nothing(tmp_path):
    """With the row of the data."""
    answer = forks.launch(
        "auto", f"--workdir={tmp_path}/a", "--data=digits", "--explain", limit=120
    )
    assert answer.status == 0 and "-> few images: " in answer.out, answer.err
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_the_whole_way_of_a_tiny_folder(tmp_path):
    """A model that predicts, a report, the commands; run again it is finished."""
    write(tmp_path / "photos", {"red": 20, "green": 20, "blue": 20}, [(8, 8), (9, 7)])
    plugin = pathlib.Path(__file__).parent / "tiny_auto.py"
    line = [
        "auto", "--workdir=run", "--data=folder:photos?size=8", f"--plugins={plugin}",
        "--minutes=20", "--max_parameters=9000",
    ]  # fmt: skip
    how = {"cwd": tmp_path, "limit": 600}
    first = forks.launch(*line, **how)
    assert first.status == 0, first.err
    result = json.loads((tmp_path / "run/result.json").read_text())
    names = [row["name"] for row in result["cells"]]
    assert names == ["found", "plain_cnn"] and result["chosen"] in names
    best = max(result["cells"], key=lambda row: row["valid_accuracy"])
    assert result["valid_accuracy"] == best["valid_accuracy"]
    assert result["parameters"] <= 9000 and len(result["commands"]) == 2
    assert f"{result['chosen']}: parameters {result['parameters']:,}" in first.out
    assert result["verdict"] in first.out and result["minutes_used"] < 20
    assert all(one in first.err for one in result["commands"])
    model = jnas.load_model(tmp_path / "run")
    assert model.class_names == ("blue", "green", "red")
    assert math.isclose(model.figures["test_accuracy"], result["test_accuracy"])
    assert "Steps" in (tmp_path / "run/report.html").read_text()
    again = forks.launch(*line, **how)
    assert again.status == 0 and "is finished" in again.out
