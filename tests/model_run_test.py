"""Tests of the models that runs leave: of the last state, whatever happened between."""

import dataclasses
import json
import shutil

import jax
import made_models
import numpy as np
import pytest

import jnas
from jnas import models, networks, run, spaces
from jnas.run import phase
from jnas.studies import setup, train_scratch, trained
from jnas.training import scratch

pytestmark = pytest.mark.slow
DIGITS = made_models.digits()
SETTINGS = train_scratch.RetrainSettings(
    features=2, layers=1, batch_size=128, epochs=2, auxiliary=False
)


def train(folder, settings=SETTINGS, **how):
    """Trains as retrain.py does; returns the result, or None of a run that stopped."""
    how = {"settings": {"data": "digits", "shrink": 2, "epochs": settings.epochs}} | how
    with run.open_run(folder, **how) as opened:
        genotype = made_models.genotype()
        result = train_scratch.retrain_cell(
            opened, "retrain", genotype, DIGITS, settings, keep=folder / "model"
        )
        if opened.finished is None:
            opened.finish(result)
        return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder


def same(one, other):
    """Whether two runs left the same model, but for the time that it took."""
    contents = [json.loads((f / "model/model.json").read_text()) for f in (one, other)]
    weights = [(f / "model/weights.safetensors").read_bytes() for f in (one, other)]
    return contents[0] == contents[1] and weights[0] == weights[1]


def test_the_model_is_the_tested_network(undisturbed):
    """Its accuracy on the test split is the run's; images of both sizes."""
    model = jnas.load_model(undisturbed)
    result = json.loads((undisturbed / "result.json").read_text())
    for images in (DIGITS.x_test, made_models.digits(1).x_test):
        found = model.predict(images).classes
        assert (
            round(float((found == DIGITS.y_test).mean()), 6)
            == (result["test_accuracy"])
        )
    assert model.figures["test_accuracy"] == result["test_accuracy"]
    assert "seconds" not in model.figures
    assert model.class_names == DIGITS.class_names
    assert model.preprocessing.source == "digits"


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_run_that_is_killed_leaves_the_same_model(
    where, undisturbed, tmp_path, monkeypatch
):
    """Between the last step, the model, the phase's end, and the run's end."""

    class Killed(BaseException):
        pass

    ends = phase.Phase.end

    def end(self, result):
        if where == "after":
            ends(self, result)
        raise Killed

    monkeypatch.setattr(phase.Phase, "end", end)
    with pytest.raises(Killed):
        train(tmp_path / "run")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "run" / "model")  # as if it had been killed before
    train(tmp_path / "run")
    assert same(undisturbed, tmp_path / "run")


def test_a_finished_run_gives_its_model_again(undisturbed, tmp_path):
    """As one of an earlier release, which left none: from its last checkpoint."""
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(folder / "model")
    train(folder)
    assert same(undisturbed, folder)


def test_a_finished_run_without_checkpoints_still_has_its_result(
    undisturbed, tmp_path, capsys
):
    """It says that the model cannot be saved, and how it can be had."""
    folder = tmp_path / "again"
    shutil.copytree(undisturbed, folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints")
    assert train(folder) == json.loads((folder / "result.json").read_text())
    assert not (folder / "model").exists()
    said = capsys.readouterr().err
    assert "no checkpoint of 'retrain' is left" in said and "--workdir" in said


def test_the_best_seed_may_have_a_score_of_zero():
    """Above what is negative; a score that is missing or NaN is below all."""
    scores = [None, -0.5, float("nan"), 0.0, -1e30]
    assert max(scores, key=trained._score) == 0.0
    assert trained._score(None) == trained._score(float("nan")) < -1e38


def test_a_model_of_several_seeds_is_of_one(tmp_path, capsys):
    """Of the best on the validation split; figures of other seeds are left out."""
    settings = dataclasses.replace(SETTINGS, num_seeds=2, valid_rate=0.2, epochs=1)
    result = train(tmp_path / "seeds", settings)
    best = max(result["seeds"], key=lambda one: one["valid_accuracy"])
    model = jnas.load_model(tmp_path / "seeds")
    assert model.figures["test_accuracy"] == best["test_accuracy"]
    found = model.predict(DIGITS.x_test).classes
    assert round(float((found == DIGITS.y_test).mean()), 6) == best["test_accuracy"]
    assert not [name for name in model.figures if name.endswith("_sd")]
    assert f"of seed {best['seed']}, the best" in capsys.readouterr().err


def test_an_extended_run_replaces_its_model(undisturbed, tmp_path):
    """By that of its new last state."""
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    longer = train_scratch.RetrainSettings(
        features=2, layers=1, batch_size=128, epochs=3, auxiliary=False
    )
    result = train(folder, longer, allow_changed=True, extendable=("epochs",))
    assert not same(undisturbed, folder)
    assert jnas.load_model(folder).figures["test_accuracy"] == result["test_accuracy"]
    found = jnas.load_model(folder).predict(DIGITS.x_test).classes
    accuracy = round(float((found == DIGITS.y_test).mean()), 6)
    assert accuracy == result["test_accuracy"]


def test_the_auxiliary_head_stays_behind(tmp_path):
    """A model is the network that is tested; nothing else changes its arrays."""
    space = spaces.zoo.tiny()
    genotype = space.genotype(np.array(space.sizes) - 1)
    settings = train_scratch.RetrainSettings(features=2, layers=3)
    size = setup.network_size(settings, DIGITS)
    whole = networks.derived(genotype, size, auxiliary=True)
    like = jax.eval_shape(whole.init, jax.random.key(0))
    params, stats = (made_models.drawn(0, tree) for tree in like)
    with run.open_run(tmp_path) as opened:

        def describe():
            return models.of_genotype(genotype, size)

        saver = trained.Saver(tmp_path / "model", opened, describe, DIGITS)
        saver.save(scratch.TrainState(params, stats, None), {})
    model = jnas.load_model(tmp_path)
    assert params.pop("auxiliary") and stats.pop("auxiliary")
    for tree, own in ((params, model.params), (stats, model.stats)):
        jax.tree.map(np.testing.assert_array_equal, tree, own)


def test_a_folder_of_the_user_is_refused_before_anything_runs(tmp_path):
    """In the place of the model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("")
    with run.open_run(tmp_path / "other") as opened:
        with pytest.raises(ValueError, match="must be new, empty or hold model.json"):
            train_scratch.retrain_cell(
                opened, "retrain", made_models.genotype(), DIGITS, SETTINGS,
                keep=tmp_path / "model",
            )  # fmt: skip
    with pytest.raises(ValueError, match="must be new or hold a run"):
        run.open_run(tmp_path)
