"""Tests of tuning as a user runs it: files, resuming, Optuna, wrong flags."""

import dataclasses
import functools
import json
from concurrent import futures

import forks
import jax
import numpy as np
import optuna
import pytest
import toy_tuning
from absl import flags

from jnas import report, run
from jnas.discrete.objectives import workers
from jnas.report import charts, trials
from jnas.run import pools
from jnas.settings import to_json
from jnas.spaces import genotype_text
from jnas.studies import (
    members,
    settings_file,
    setup,
    train_scratch,
    tune,
    tune_files,
    tune_optuna,
    tune_workers,
)
from jnas.training import lineages, optimizers, rungs

CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"
SMALL = (
    "--data=digits", "--shrink=2", f"--genotype={CELL}", "--features=2", "--layers=1",
    "--batch_size=128", "--epochs=2",
)  # fmt: skip


def plan(plan_rungs, *, tuner="halving", rates=None, **how):
    """Returns a tuning of the toy."""
    settings = tune.TuneSettings(
        tuner=tuner, trials=rungs.num_trials(plan_rungs), epochs=plan_rungs[-1].stop,
        **how,
    )  # fmt: skip
    return tune.Plan(
        toy_tuning.tuning(plan_rungs, rates), toy_tuning.RANGES, toy_tuning.splits(),
        12, settings, {"toy": 1}, ("augmentation: none",),
    )  # fmt: skip


def tuned(folder, made, *, dies_in=None, hands=None):
    """Runs a tuning in a workdir; returns its trials."""
    with run.open_run(folder, seed=4, checkpoint_steps=3) as r:
        if dies_in is not None:
            begin = r.phase

            def phase(name, *args, **kwargs):
                if name == dies_in:
                    raise OSError("killed")
                return begin(name, *args, **kwargs)

            r.phase = phase
        return tune.tune_training(r, made, hands)


class Pool:
    """A pool of one worker, this process; it dies before a number of trials."""

    num_workers = 1

    def __init__(self, made, folder, *, dies_at=None):
        """Builds what scores a trial, with weights in a folder."""
        kept = tune_workers.Weights(folder / "weights", "toy")
        names = [one.name for one in made.ranges]
        self._score = lineages.scorer(
            made.tuning, names, made.splits, load=kept.read, keep=kept.write
        )
        self.num, self._dies_at = 0, dies_at

    def submit(self, task):
        """Scores a trial at once."""
        found = futures.Future()
        if self.num == self._dies_at:
            found.set_exception(OSError("killed"))
            return found
        self.num += 1
        key = jax.random.wrap_key_data(np.asarray(task.key))
        found.set_result(self._score(key, task.encoding))
        return found


PLANS = {
    "halving": rungs.halving(6, min_epochs=1, max_epochs=4, eta=2),
    "hyperband": rungs.hyperband(6, min_epochs=1, max_epochs=4, eta=2),
    "optuna:tpe": rungs.single(5, max_epochs=2),
}


@pytest.mark.parametrize("tuner", PLANS)
def test_workers_train_the_trials_of_one_process(tmp_path, tuner):
    """The same trials; after a kill the journal spares those that were scored."""
    made = plan(PLANS[tuner], tuner=tuner, ask=3)
    whole = tuned(tmp_path / "whole", made)

    def hands(**how):
        folder = tmp_path / "part"
        folder.mkdir(exist_ok=True)
        pool = Pool(made, folder, **how)
        return pool, workers.Journal(folder / workers.JOURNAL)

    pool, journal = hands(dies_at=4)
    with pytest.raises(OSError, match="killed"):
        tuned(tmp_path / "part", made, hands=(pool, journal))
    pool, journal = hands()
    before = len(journal.known)
    assert tuned(tmp_path / "part", made, hands=(pool, journal)) == whole
    total = sum(one.num_trials for one in PLANS[tuner])
    assert before == 4 and pool.num == total - before


def test_a_worker_builds_its_trials_from_names_and_numbers(tmp_path):
    """Data, cells and settings by their JSON: the accuracies of one process."""
    genotype = genotype_text.parse(CELL)
    settings = tune.TuneSettings(
        features=2, layers=1, batch_size=128, epochs=2, trials=3, min_epochs=1, eta=2,
        auxiliary=False,
    )  # fmt: skip
    source = setup.DataSettings(data="digits", shrink=2)
    dataset = setup.dataset(source)
    made = tune.prepare(genotype, dataset, settings, seed=4)
    whole = tuned(tmp_path / "whole", made)
    origin = members.Origin(
        to_json(source), to_json(setup.SpaceSettings()), dataset.digest, (), 4
    )
    build = tune_workers.build_trial(
        origin,
        to_json(settings),
        genotype_text.to_json(genotype),
        str(tmp_path / "w"),
        [],
    )
    pool = Pool(made, tmp_path)
    pool._score = lambda key, encoding: build(
        workers.Task(np.asarray(jax.random.key_data(key)), encoding)
    )
    hands = pool, workers.Journal(None)
    assert tuned(tmp_path / "part", made, hands=hands) == whole
    assert len(list((tmp_path / "w").iterdir())) == 3  # after the first rung alone
    with pytest.raises(run.RunError, match="data must be the same for all workers"):
        origin._replace(digest="other").open()


def test_trials_side_by_side_are_refused_by_workers():
    """Each trains one, whose last bits differ."""
    settings, asked = tune.TuneSettings(side_by_side=4), pools.Asked("processes", 2, {})
    with pytest.raises(ValueError, match="side_by_side must be 1 with workers"):
        tune_workers.check(settings, asked)
    tune_workers.check(settings, None)
    tune_workers.check(tune.TuneSettings(side_by_side=1), asked)


def test_weights_that_cannot_be_read_are_trained_again(tmp_path):
    """Cut off, of another shape, or absent: the score is the same."""
    made = plan(PLANS["halving"])
    names, key = [one.name for one in made.ranges], jax.random.key(0)
    kept = tune_workers.Weights(tmp_path / "weights", "toy")
    score = lineages.scorer(
        made.tuning, names, made.splits, load=kept.read, keep=kept.write
    )
    encoding = lineages.encoded(np.full((2, len(names)), 0.1, np.float32), 1)
    wanted = score(key, encoding)
    files = sorted((tmp_path / "weights").iterdir())
    assert len(files) == 2
    for spoil in (b"", files[0].read_bytes()[:-40]):
        for file in files:
            file.write_bytes(spoil)
        np.testing.assert_array_equal(score(key, encoding), wanted)
    for file in files:
        np.savez(file, *[np.zeros(7)] * 40)
    np.testing.assert_array_equal(score(key, encoding), wanted)


def test_a_tuning_says_its_cost_and_lists_its_trials(tmp_path, capfd):
    """Images, rungs and epochs of each trial; one that diverged has no accuracy."""
    rates = [0.01, 0.3, 3.0, 0.1]
    made = plan(rungs.halving(4, min_epochs=2, max_epochs=4, eta=2), rates=rates)
    found = tuned(tmp_path, made)
    text = capfd.readouterr().err
    assert "trials 4: rungs 4x2, 2x4 = 12 epochs of 12 images, 144 images in" in text
    assert "1 of 4 trials diverged and ranked last" in text
    assert [one["trial"] for one in found] == [0, 1, 2, 3]
    assert [one["settings"]["learning_rate"] for one in found] == rates
    assert [one["epochs"] for one in found] == [2, 4, 2, 4]
    assert [one["images"] for one in found] == [24, 48, 24, 48]
    assert sum(one["images"] for one in found) == 144
    assert found[2]["valid_accuracy"] is None
    assert list(found[0]["settings"]) == [one.name for one in made.ranges]
    assert tune.winner(found)["trial"] in (1, 3)
    assert tune.ranking(found)[-1]["trial"] == 2
    assert tuned(tmp_path, made) == found  # the finished phase, read back


def test_a_tuning_of_diverging_trials_says_what_to_lower(tmp_path):
    """Where none is left."""
    made = plan(rungs.single(2, max_epochs=2), tuner="random", rates=[3.0, 4.0])
    with pytest.raises(ValueError, match="got none of 2. Lower the upper"):
        tuned(tmp_path, made)


def test_winner_is_the_most_accurate_of_those_trained_longest():
    """Before a higher accuracy after fewer epochs; the first of equals."""
    rows = [(1, 0.9), (3, 0.5), (3, 0.7), (3, None), (3, 0.7)]
    found = [
        {"trial": i, "epochs": epochs, "valid_accuracy": accuracy}
        for i, (epochs, accuracy) in enumerate(rows)
    ]
    assert [one["trial"] for one in tune.ranking(found)] == [2, 4, 1, 0, 3]


def test_optuna_asks_in_batches_and_resumes_as_undisturbed(tmp_path):
    """A process dies before the third batch; the next proposes the same."""
    made = plan(rungs.single(7, max_epochs=2), tuner="optuna:tpe", ask=3)
    whole = tuned(tmp_path / "whole", made)
    assert [one["trial"] for one in whole] == list(range(7))
    with pytest.raises(OSError, match="killed"):
        tuned(tmp_path / "part", made, dies_in="tune_2")
    assert tuned(tmp_path / "part", made) == whole
    for folder in ("whole", "part"):
        path = str(tmp_path / folder / tune_optuna.JOURNAL)
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(path)
        )
        study = optuna.load_study(study_name="jnas", storage=storage)
        assert [t.value for t in study.trials] == [
            one["valid_accuracy"] for one in whole
        ]
    numbers = [one["settings"]["learning_rate"] for one in whole]
    assert len(set(numbers)) == 7 and all(1e-3 <= x <= 1 for x in numbers)


def test_optuna_learns_from_the_trials():
    """With a clear optimum, proposals of tpe gather there; those of random do not."""
    ranges = toy_tuning.RANGES

    def score(settings):
        return -abs(np.log10(settings["learning_rate"]) + 1)

    def last(tuner):
        found = []
        for batch in range(6):
            new = tune_optuna.propose(found, ranges, 8, tuner=tuner, seed=(0, batch))
            found += [{"settings": s, "valid_accuracy": score(s)} for s in new]
        found[0]["valid_accuracy"] = None  # a trial that diverged is taken too
        new = tune_optuna.propose(found, ranges, 16, tuner=tuner, seed=(0, 9))
        return np.mean([score(one) for one in new])

    # uniform in [-3, 0]: the mean distance to -1 is 5/6
    assert last("optuna:tpe") > -0.5 > last("optuna:random")


def test_pbt_and_random_take_every_trial_to_the_end(tmp_path):
    """And trials of pbt say whose weights they copied."""
    ranges = toy_tuning.RANGES
    settings = tune.TuneSettings(tuner="pbt", trials=8, epochs=3)
    plan_rungs, promote = tune.plan_rungs(settings, ranges)
    made = plan(plan_rungs, tuner="pbt")
    made = made._replace(tuning=made.tuning._replace(promote=promote))
    found = tuned(tmp_path, made)
    assert {one["epochs"] for one in found} == {3}
    assert any("copied" in one for one in found)


def test_best_settings_are_flags_that_a_training_reads(tmp_path):
    """To flags and back, with pieces and their options; the command line wins."""
    optimizer = functools.partial(optimizers.adamw, b1=0.8)
    settings = train_scratch.RetrainSettings(
        learning_rate=0.1, optimizer=optimizer, epochs=7, auxiliary=False, cutout=2
    )
    path = tmp_path / "best.json"
    path.write_text(settings_file.to_json(settings, trial=3))
    given = json.loads(path.read_text())
    assert given["trial"] == 3 and given["flags"] == {
        "learning_rate": 0.1, "optimizer": "adamw", "epochs": 7, "auxiliary": False,
        "cutout": 2, "options": ["optimizer.b1=0.8"],
    }  # fmt: skip
    values = flags.FlagValues()
    flags.DEFINE_string("settings", None, "", flag_values=values)
    flags.DEFINE_float("learning_rate", 0.025, "", flag_values=values)
    flags.DEFINE_string("optimizer", "momentum_sgd", "", flag_values=values)
    flags.DEFINE_integer("epochs", 600, "", flag_values=values)
    flags.DEFINE_boolean("auxiliary", True, "", flag_values=values)
    flags.DEFINE_integer("cutout", None, "", flag_values=values)
    flags.DEFINE_list("options", None, "", flag_values=values)
    values(["x", f"--settings={path}", "--epochs=9"])
    settings_file.use_flags(train_scratch.RetrainSettings, values)
    assert values.learning_rate == 0.1 and values.optimizer == "adamw"
    assert values.epochs == 9 and values.auxiliary is False and values.cutout == 2
    assert values.options == ["optimizer.b1=0.8"]


WRONG_FILES = {
    "missing": (None, "settings must be the best.json of a tuning"),
    "no JSON": ("{", "settings must be the best.json of a tuning"),
    "another file": ('{"format": "jnas.genotype"}', "settings must be the best.json"),
    "deep": ("[" * 100_000, "settings must be the best.json of a tuning"),
    "version": (
        '{"format": "jnas.settings", "version": 2, "flags": {}}',
        "settings must have version 1, got 2",
    ),
    "a flag of something else": (
        '{"format": "jnas.settings", "version": 1, "flags": {"plugins": ["a.py"]}}',
        "settings must hold settings of a training, got 'plugins'",
    ),
    "unknown flag": (
        '{"format": "jnas.settings", "version": 1, "flags": {"learning_rat": 1}}',
        "got 'learning_rat' in",
    ),
    "wrong value": (
        '{"format": "jnas.settings", "version": 1, "flags": {"learning_rate": "a"}}',
        "got 'a' for learning_rate",
    ),
}


def test_wrong_files_of_settings_are_refused(tmp_path):
    """One line each, before anything runs."""
    table = {}
    for label, (text, words) in WRONG_FILES.items():
        path = tmp_path / f"{label}.json"
        if text is not None:
            path.write_text(text)
        line = ["retrain", f"--workdir={tmp_path / 'r'}", *SMALL, f"--settings={path}"]
        table[label] = line, words
    assert forks.faults(table, tmp_path) == {}


def test_wrong_flags_are_refused(tmp_path):
    """Each with the rule and what to write; nothing is compiled."""

    def line(*more, name="tune"):
        return [name, f"--workdir={tmp_path / 'r'}", *SMALL, *more]

    table = {
        "tuner": (line("--tuner=halvin"), "Did you mean 'halving'?"),
        "sampler": (line("--tuner=optuna:tp"), "got 'tp'. Did you mean 'tpe'?"),
        "no sampler": (line("--tuner=random:tpe"), "got 'random:tpe'"),
        "range": (line("--tune=lr:0:1"), "Did you mean 'learning_rate'?"),
        "form": (line("--tune=learning_rate:0.1"), "Write --tune=learning_rate:log:"),
        "given": (line("--learning_rate=0.1"), "learning_rate must be left out where"),
        "momentum": (
            line("--optimizer=adamw", "--tune=momentum:0:0.9"),
            "momentum must be left out for optimizer adamw",
        ),
        "cutout": (line("--tune=cutout:0:9"), "cutout must be from 0 to"),
        "stopping": (line("--early_stopping=2"), "early_stopping must be 0"),
        "epochs": (line("--min_epochs=3"), "min_epochs must be at most epochs, 2"),
        "brackets": (
            line("--tuner=hyperband", "--trials=2", "--epochs=27"),
            "trials must be at least 4",
        ),
        "warm-up": (line("--warmup_epochs=2"), "warmup_epochs must be from 0 to 1"),
        "split": (line("--valid_rate=0"), "valid_rate must be a"),
        "sgd": (line("--optimizer=sgd", name="retrain"), "'momentum_sgd'?"),
        "patience": (line("--early_stopping=2", name="retrain"), "Add --valid_rate"),
        "nesterov": (
            line("--optimizer=lion", "--nesterov", name="retrain"),
            "nesterov must be left out for optimizer lion",
        ),
        "smoothing": (
            line("--label_smoothing=1", name="retrain"),
            "label_smoothing must be in [0, 1)",
        ),
        "twice": (
            line(
                "--weight_decay=0.1", "--options=optimizer.weight_decay=0.2",
                name="retrain",
            ),
            "weight_decay must be given once",
        ),
    }  # fmt: skip
    assert forks.faults(table, tmp_path) == {}


@pytest.mark.slow
def test_tune_writes_its_files_and_retrain_reads_the_best(tmp_path):
    """From the command line: halving, the winner tested once, its flags reused."""
    folder = tmp_path / "tuned"
    line = (
        *SMALL, f"--workdir={folder}", "--trials=3", "--min_epochs=1", "--eta=2",
        "--tune=learning_rate:log:1e-3:0.5,cutout:0:2,mixup:0:0.4",
    )  # fmt: skip
    done = forks.launch("tune", *line, limit=600)
    assert done.status == 0, done.err
    assert "trials 3: rungs 3x1, 1x2 = 4 epochs of 1,024 images" in done.err
    assert "cutout tuned" in done.err
    found = [json.loads(x) for x in (folder / "tune.jsonl").read_text().splitlines()]
    best, result = (
        json.loads((folder / name).read_text()) for name in ("best.json", "result.json")
    )
    assert best["trial"] == result["trial"] == tune.winner(found)["trial"]
    assert result["images"] == 4 * 1024 and 0 <= result["test_accuracy"] <= 1
    phases = {json.loads(x)["phase"] for x in
              (folder / "metrics.jsonl").read_text().splitlines()}  # fmt: skip
    assert phases == {"tune", "retrain"}
    assert "| trial " in done.out and done.out.splitlines()[-1].startswith("next: ")
    again = forks.launch("tune", *line)
    assert again.status == 0 and "is finished" in again.out and "| trial " in again.out
    trained = forks.launch(
        "retrain", *SMALL, f"--workdir={tmp_path / 'trained'}",
        f"--settings={folder / 'best.json'}", limit=600,
    )  # fmt: skip
    assert trained.status == 0, trained.err
    kept = json.loads((tmp_path / "trained" / "run.json").read_text())["settings"]
    for name, value in best["flags"].items():
        assert kept[name] == value
    # the same settings, seed and images: the tuning's own last training
    other = json.loads((tmp_path / "trained" / "result.json").read_text())
    assert other["test_accuracy"] == result["test_accuracy"]


def a_run(**how):
    """Returns the files of a tuning whose trials have two numbers."""
    ranges = ["learning_rate:log:1e-3:1", "mixup:0:0.4"]
    lines = [
        {
            "trial": i,
            "settings": {"learning_rate": 10 ** (-3 + i), "mixup": 0.1 * i},
            "epochs": 1 + i,
            "valid_accuracy": None if i == 3 else 0.2 * i,
        }
        for i in range(4)
    ]
    return report.RunFiles("a", run={"settings": {"tune": ranges}}, trials=lines, **how)


def test_parallel_coordinates_have_logarithmic_axes():
    """Places by hand: .001, .01, .1 are 0, 1/2 and 1 of a logarithmic axis."""
    rows = charts.parallel(a_run()).layer[0].data["values"]
    places = {(row["trial"], row["axis"]): row["place"] for row in rows}
    rate, mixup = "learning rate (log)", "mixup"
    for i, place in enumerate((0, 0.5, 1)):
        assert places[f"trial {i}", rate] == pytest.approx(place, abs=1e-4)
        assert places[f"trial {i}", mixup] == pytest.approx(place, abs=1e-4)
    assert len(rows) == 9  # three trials of three axes: the fourth diverged
    assert [row["width"] for row in rows] == [0.9] * 6 + [2.2] * 3


def test_a_damaged_tuning_is_reported_without_its_bad_lines(tmp_path):
    """And the page of one has the chart and its section."""
    run_files = a_run()
    bad = [
        {"trial": 9},
        {"trial": 9, "settings": 3, "valid_accuracy": 0.5},
        {
            "trial": 9,
            "settings": {"learning_rate": "x", "mixup": 1},
            "valid_accuracy": 1,
        },
        {"trial": 9, "settings": {"other": 1}, "valid_accuracy": 1},
    ]
    lines = [*run_files.trials, *bad]
    run_files = dataclasses.replace(run_files, trials=lines)
    assert [one.name for one in trials.known(run_files)] == [
        "trial 0", "trial 1", "trial 2"
    ]  # fmt: skip
    path = tmp_path / "report.html"
    report.write_report(path, [run_files])
    assert "Trials" in path.read_text()
    report.write_report(path, [dataclasses.replace(run_files, trials=bad[:2])])
    assert "Trials" not in path.read_text()


def test_the_table_has_the_best_ten():
    """The best first, with every tuned number."""
    found = [
        {"trial": i, "settings": {"mixup": i / 100}, "rung": 0, "epochs": 1,
         "images": 5, "valid_accuracy": i / 100}
        for i in range(12)
    ]  # fmt: skip
    table = tune_files.table(found)
    assert list(table.header)[:2] == ["trial", "mixup"]
    assert [row[0] for row in table.rows] == [str(i) for i in range(11, 1, -1)]


def test_a_plan_checks_and_builds_without_compiling():
    """Every number tuned at once, by shapes alone."""
    names = ["learning_rate", "weight_decay", "momentum", "drop_path_rate",
             "label_smoothing", "mixup", "ema_decay", "clip_norm"]  # fmt: skip
    settings = tune.TuneSettings(
        tune=(*(f"{name}:0.1:0.5" for name in names), "cutout:0:2"),
        features=2, layers=1, batch_size=128, epochs=2, trials=2, auxiliary=False,
    )  # fmt: skip
    from jnas.studies import setup
    from jnas.training import trials as trials_lib

    dataset = setup.dataset(setup.DataSettings(data="digits", shrink=2))
    cell = genotype_text.parse(CELL, space="nasbench201")
    made = tune.prepare(cell, dataset, settings, seed=0)
    program = trials_lib.program(made.tuning)
    state = jax.eval_shape(program.init, jax.random.key(0))
    after, metrics = jax.eval_shape(program.advance, state, 0, 1, made.splits)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype),
                        after, state)  # fmt: skip
    assert all(jax.tree.leaves(same)) and set(metrics) == {"train_loss"}
    assert set(state.inner.numbers) == {*names, "cutout"}
