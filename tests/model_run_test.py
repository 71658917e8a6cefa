"""Tests of the models that runs leave: of the last state, whatever happened between."""

import json
import shutil

import made_models
import pytest

import jnas
from jnas import run
from jnas.run import phase
from jnas.studies import train_scratch

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
def trained(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder


def same(one, other):
    """Whether two runs left the same model, but for the time that it took."""
    contents = [json.loads((f / "model/model.json").read_text()) for f in (one, other)]
    weights = [(f / "model/weights.safetensors").read_bytes() for f in (one, other)]
    return contents[0] == contents[1] and weights[0] == weights[1]


def test_the_model_is_the_tested_network(trained):
    """Its accuracy on the test split is the run's; images of both sizes."""
    model = jnas.load_model(trained)
    result = json.loads((trained / "result.json").read_text())
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
    where, trained, tmp_path, monkeypatch
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
    assert same(trained, tmp_path / "run")


def test_a_finished_run_gives_its_model_again(trained, tmp_path):
    """As one of an earlier release, which left none: from its last checkpoint."""
    folder = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(folder / "model")
    train(folder)
    assert same(trained, folder)


def test_an_extended_run_replaces_its_model(trained, tmp_path):
    """By that of its new last state."""
    folder = shutil.copytree(trained, tmp_path / "run")
    longer = train_scratch.RetrainSettings(
        features=2, layers=1, batch_size=128, epochs=3, auxiliary=False
    )
    result = train(folder, longer, allow_changed=True, extendable=("epochs",))
    assert not same(trained, folder)
    assert jnas.load_model(folder).figures["test_accuracy"] == result["test_accuracy"]
    found = jnas.load_model(folder).predict(DIGITS.x_test).classes
    accuracy = round(float((found == DIGITS.y_test).mean()), 6)
    assert accuracy == result["test_accuracy"]


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
