"""Tasks other than classification go through every family of search, and further."""

import json
import os
import pathlib
import subprocess
import sys

import forks
import numpy as np
import pytest

from jnas import data, models, registry, testing

PLUGIN = str(pathlib.Path(__file__).parents[1] / "experiments/plugins/quantiles.py")
OWN = ("--data=friedman", "--task=quantiles", "--space=dense", f"--plugins={PLUGIN}")
SHORT = ("--features=2", "--epochs=2", "--batch_size=256")


def launch(tmp_path, launcher, name, *args):
    """Runs a launcher; returns its result and its folder."""
    folder = tmp_path / name
    done = forks.launch(launcher, f"--workdir={folder}", *args, limit=200)
    assert not done.status, done.err
    return json.loads((folder / "result.json").read_text()), folder


def no_accuracy(folder):
    """No file of a run names an accuracy."""
    for path in (*folder.glob("*.json*"), folder / "report.html"):
        assert "accuracy" not in path.read_text(), path


@pytest.fixture
def own(monkeypatch):
    """The plug-in, loaded for one test."""
    for name in ("SPACES", "SUPERNETS", "TASKS"):
        one = getattr(registry, name)
        monkeypatch.setattr(one, "_entries", dict(one))
    registry.load_plugins([PLUGIN])


def test_it_keeps_the_contracts(own):
    """Its task too; the file is an example of at most 60 lines."""
    testing.check_task("quantiles", "friedman")
    testing.check_space("dense", image_shape=(10,))
    testing.check_supernet("dense", "dense", image_shape=(10,))
    assert len(pathlib.Path(PLUGIN).read_text().splitlines()) <= 60


def test_it_is_searched_by_gradient_and_trained(tmp_path, own):
    """Supernet, model, evaluation and predictions are of the task."""
    result, folder = launch(tmp_path, "search", "found", *OWN, *SHORT, "--num_seeds=2")
    assert {"valid_skill", "train_skill", "supernet_skill"} <= result.keys()
    no_accuracy(folder)
    supernet = models.load_supernet(folder)
    x = data.load("friedman").x_test[:5]
    assert supernet.predict(x)["quantile"].shape == (5, 3)
    genotype = f"--genotype={folder / 'genotype.json'}"
    size = ("--features=2", "--epochs=4", "--batch_size=128", "--valid_rate=0.2")
    result, folder = launch(
        tmp_path, "retrain", "trained", *OWN, genotype, *size, "--early_stopping=2"
    )
    assert {"test_skill", "valid_skill", "best_epoch"} <= result.keys()
    no_accuracy(folder)
    model = models.load(folder)
    assert model.predict(x)["quantile"].shape == (5, 3)
    found, _ = launch(
        tmp_path, "evaluate", "measured", f"--model={folder}", *OWN[:1], OWN[-1]
    )
    assert found["test_skill"] == pytest.approx(result["test_skill"], abs=2e-6)
    losses = [one["loss"] for one in found["worst"]]
    assert losses == sorted(losses, reverse=True) and len(losses) == 10
    np.savez(tmp_path / "x.npz", x=x)
    out = tmp_path / "out.csv"
    done = forks.launch(
        "predict", f"--model={folder}", f"--images={tmp_path / 'x.npz'}",
        f"--out={out}", OWN[-1],
    )  # fmt: skip
    assert not done.status, done.err
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["image", "quantile/0", "quantile/1", "quantile/2"]
    told = np.array(rows[1:], float)[:, 1:]
    np.testing.assert_allclose(told, model.predict(x)["quantile"], rtol=1e-4)


@pytest.mark.parametrize("controller", ["regularized_evolution", "reinforce"])
@pytest.mark.parametrize("objective", ["supernet", "scratch"])
def test_it_is_searched_by_controllers(tmp_path, own, controller, objective):
    """With shared weights and from scratch."""
    result, folder = launch(
        tmp_path, "search_discrete", "found", *OWN, *SHORT, "--num_evaluations=8",
        f"--controller={controller}", f"--objective={objective}", "--num_proposals=4",
    )  # fmt: skip
    prefix = "one_shot" if objective == "supernet" else "valid"
    assert np.isfinite(result[f"{prefix}_skill"])
    no_accuracy(folder)


@pytest.mark.parametrize(
    "name, metrics, then",
    [
        (
            "ellipses",
            ("r2", "mean_squared_error"),
            ("tune", "--trials=2", "--tune=learning_rate:log:0.01:0.1"),
        ),
        ("shapes", ("mean_average_precision", "f1"), ("retrain",)),
    ],
)
def test_chains_of_images_learn_other_tasks(tmp_path, name, metrics, then):
    """Search, training or tuning, evaluation of each number, and the saved model."""
    chain = (f"--data={name}", "--shrink=2", "--features=2", "--batch_size=256")
    result, folder = launch(
        tmp_path, "search", "found", *chain, "--space=tiny_chain", "--epochs=1"
    )
    assert f"valid_{metrics[0]}" in result
    no_accuracy(folder)
    genotype = f"--genotype={folder / 'genotype.json'}"
    result, folder = launch(
        tmp_path, then[0], "tuned", *chain, genotype, "--epochs=2", *then[1:]
    )
    assert {f"test_{one}" for one in metrics} <= result.keys()
    no_accuracy(folder)
    found, folder = launch(
        tmp_path, "evaluate", "measured", f"--model={folder}", *chain[:1]
    )
    for one in metrics:
        assert found[f"test_{one}"] == pytest.approx(result[f"test_{one}"], rel=1e-3)
    names = data.load(name).class_names
    assert [row["output"] for row in found["outputs"]] == list(names)
    r2 = [row[metrics[0]] for row in found["outputs"]]
    assert np.mean(r2) == pytest.approx(found[f"test_{metrics[0]}"], abs=1e-5)
    assert "data:image/png" in (folder / "report.html").read_text()


SERIES = pathlib.Path(PLUGIN).with_name("series.py")
TREES = pathlib.Path(__file__).parent / "own_trees.py"
SMALL = ("--baseline=plain_cnn", "--parameters=500", "--epochs=1", "--batch_size=128")
OTHERS = f"--plugins={pathlib.Path(__file__).parent / 'own_tasks.py'}"


def test_a_task_may_have_more_outputs_than_numbers(tmp_path):
    """The model is saved and measured; no number has an output of its own."""
    how = ("--data=ellipses", "--task=distribution", OTHERS)
    result, folder = launch(tmp_path, "retrain", "trained", *how, *SMALL, "--shrink=2")
    said = f"--model={folder}"
    found, _ = launch(tmp_path, "evaluate", "measured", said, how[0], OTHERS)
    wanted = result["test_likelihood"]
    assert found["test_likelihood"] == pytest.approx(wanted, rel=1e-4)
    assert "outputs" not in found
    done = forks.launch("evaluate", said, how[0], f"--workdir={tmp_path / 'x'}")
    assert "task must be registered" in done.err and "--plugins" in done.err


def test_a_task_of_classes_is_not_always_classification(tmp_path):
    """One output, of which none is among the five largest of twelve."""
    rng = np.random.default_rng(0)
    paths = []
    for number in (12, 13):
        y = np.arange(5 * number) % number
        x = rng.normal(size=(len(y), 8, 8, 1)) + y[:, None, None, None]
        x = x.astype("f4")
        paths.append(tmp_path / f"{number}.npz")
        np.savez(paths[-1], x_train=x, y_train=y, x_test=x, y_test=y)
    how = [(f"--data=npz:{path}", OTHERS) for path in paths]
    own = ("--task=order", "--batch_size=20")
    result, folder = launch(tmp_path, "retrain", "trained", *how[0], *SMALL, *own)
    assert [name for name in result if name.startswith("test_")] == ["test_accuracy"]
    said = f"--model={folder}"
    launch(tmp_path, "evaluate", "measured", said, *how[0])
    done = forks.launch("evaluate", said, *how[1], f"--workdir={tmp_path / 'x'}")
    assert "data must have the model's 12 classes, got 13" in done.err


@pytest.fixture
def trees(tmp_path):
    """An npz file of digits and three numbers; flags of the plug-in that reads it."""
    digits, rng = data.load("digits"), np.random.default_rng(0)
    arrays = {}
    for part, x, y in (
        ("train", digits.x_train, digits.y_train),
        ("test", digits.x_test, digits.y_test),
    ):
        numbers = rng.normal(size=(len(x), 3)).astype(np.float32)
        arrays |= {
            f"x_{part}/picture": x,
            f"x_{part}/numbers": numbers,
            f"x_{part}/token": rng.integers(0, 5, len(x)),
            f"y_{part}/kind": y,
            f"y_{part}/size": numbers.sum(-1),
        }
    np.savez(tmp_path / "trees.npz", **arrays)
    return (
        f"--data=npz:{tmp_path / 'trees.npz'}",
        "--task=kind_and_size",
        "--space=joined",
        f"--plugins={TREES}",
    )


def test_several_inputs_and_targets_are_searched_and_trained(tmp_path, trees):
    """By gradient, by a controller, from scratch; no model is saved."""
    result, folder = launch(
        tmp_path, "search", "found", *trees, *SHORT, "--num_seeds=2",
    )  # fmt: skip
    assert result["parameters"] == 16 * (64 + 3 + 5 + 11)
    assert result["supernet_kind_accuracy"] and not (folder / "supernet").exists()
    about = json.loads((folder / "run.json").read_text())["data"]
    assert about["image_shape"] == {"numbers": [3], "picture": [8, 8, 1], "token": []}
    genotype = f"--genotype={folder / 'genotype.json'}"
    for objective in ("supernet", "scratch"):
        found, _ = launch(
            tmp_path, "search_discrete", objective, *trees, *SHORT,
            "--num_evaluations=4", f"--objective={objective}", "--num_proposals=2",
        )  # fmt: skip
        assert any(name.endswith("_kind_accuracy") for name in found)
    result, folder = launch(
        tmp_path, "retrain", "trained", *trees, genotype, "--features=2", "--epochs=6",
        "--batch_size=64", "--valid_rate=0.2", "--learning_rate=0.05", "--num_seeds=2",
    )  # fmt: skip
    assert result["test_kind_accuracy"] > 0.5 and result["test_size_error"] < 2
    assert len(result["seeds"]) == 2 and not (folder / "model").exists()
    done = forks.launch(
        "retrain", *trees, genotype, "--epochs=1", "--mixup=0.1",
        f"--workdir={tmp_path / 'x'}",
    )  # fmt: skip
    assert done.status and "mixup must be 0 for inputs that are integers" in done.err


@pytest.mark.slow
def test_tokens_are_scored_on_two_devices(tmp_path, trees):
    """A gather from shared weights, each device of some candidates."""
    command = (
        sys.executable, "experiments/search_discrete.py", *trees, *SHORT,
        "--num_evaluations=4", "--num_proposals=4", "--objective=supernet",
    )  # fmt: skip
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        done = subprocess.run(
            [*command, f"--num_devices={count}", f"--workdir={folder}"],
            cwd=pathlib.Path(__file__).parents[1],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        result = json.loads((folder / "result.json").read_text())
        found.append(result["one_shot_kind_accuracy"])
    assert found[1] == pytest.approx(found[0], abs=1e-6)


def test_images_that_are_streamed_give_the_same_regression(tmp_path):
    """Bit for bit, whole targets of several numbers."""
    results = []
    for name, more in {
        "here": (),
        "read": ("--resident=no", "--chunk_steps=3"),
    }.items():
        made = data.load("ellipses")
        arrays = dict(
            x_train=made.x_train, y_train=made.y_train, x_test=made.x_test,
            y_test=made.y_test,
        )  # fmt: skip
        path = tmp_path / "ellipses.npz"
        np.savez(path, **arrays)
        result, folder = launch(
            tmp_path, "retrain", name, f"--data=npz:{path}", "--task=regression",
            "--shrink=2", "--baseline=plain_cnn", "--parameters=500", "--epochs=2",
            "--batch_size=128", "--valid_rate=0.2", *more,
        )  # fmt: skip
        weights = (folder / "model" / "weights.safetensors").read_bytes()
        kept = {k: v for k, v in result.items() if k.startswith(("test_", "valid_"))}
        results.append((weights, kept))
    assert results[0] == results[1] and len(results[0][1]) == 3


@pytest.mark.parametrize(
    "line, message",
    [
        (
            ("search", "--data=friedman", "--space=tiny_chain"),
            "inputs must be images for space tiny_chain, got vectors.",
        ),
        (
            ("search_discrete", "--data=waves", "--space=s1", "--objective=scratch"),
            "inputs must be images for space s1, got series.",
        ),
        (
            ("retrain", "--data=friedman", "--genotype=DARTS_V2"),
            "inputs must be images for cells of darts, got vectors.",
        ),
        (
            ("retrain", "--data=waves", "--baseline=resnet", "--parameters=9000"),
            "inputs must be images for --baseline=resnet, got series.",
        ),
        (
            ("retrain", "--data=ellipses", "--genotype=FBNET_A", "--epochs=1",
             "--label_smoothing=0.1"),
            "label_smoothing must be 0 for a task of r2",
        ),
        (
            ("search", "--data=ellipses", "--task=multilabel"),
            "targets must be 0 and 1 as floats [N, K] for the task multilabel",
        ),
        (
            ("search", "--data=digits", "--task=regresion"),
            "Did you mean 'regression'?",
        ),
        (("search", "--data=friedman", "--shrink=2"), "shrink must be 1 for vectors"),
        (
            ("quickstart", "--data=friedman"),
            "inputs must be images for space compact, got vectors.",
        ),
        (
            ("search", "--data=digits", "--space=series", f"--plugins={SERIES}"),
            "supernet series must read images of one example, float32[1, 8, 8, 1], got",
        ),
        (
            ("search_discrete", "--data=friedman", "--space=joined",
             f"--plugins={TREES}", "--objective=supernet"),
            "supernet joined must read vectors of one example, float32[1, 10], got",
        ),
        (
            ("make_table", "--data=digits", "--space=dense", f"--plugins={PLUGIN}"),
            "network of space dense must read images of one example, float32[1, 8, 8",
        ),
        (
            ("auto", "--data=friedman", "--minutes=1"),
            "data must have images and classes for auto, got vectors of the task",
        ),
        (
            ("compare", "--data=ellipses", "--methods=darts", "--num_seeds=2"),
            "objective must be a table of the task regression",
        ),
        (
            ("search", "--data=digits", "--inputs=series"),
            "x_train of digits must be [N, L, C] for the inputs series",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, line, message):
    """Before anything is compiled, and nothing is written."""
    done = forks.launch(line[0], f"--workdir={tmp_path / 'x'}", *line[1:])
    assert done.status and message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_the_shipped_network_of_series_is_what_its_supernet_computes(monkeypatch):
    """At one-hot weights; one that is not is found."""
    for name in ("SPACES", "SUPERNETS", "DERIVED"):
        one = getattr(registry, name)
        monkeypatch.setattr(one, "_entries", dict(one))
    registry.load_plugins([str(SERIES)])
    shape = {"image_shape": (16, 2)}
    testing.check_space("series", **shape)
    testing.check_supernet("series", "series", **shape)
    right = registry.DERIVED["series"]

    def wrong(genotype, size):
        network = right(genotype, size)

        def apply(params, stats, x, **how):
            return network.apply(params, stats, 2 * x, **how)

        return network._replace(apply=apply)

    registry.DERIVED._entries["series"] = wrong
    with pytest.raises(AssertionError, match="equal its derived networks"):
        testing.check_supernet("series", "series", **shape)
