"""Tests of finished runs that are asked to change: extended, or refused with why."""

import contextlib
import json
import shutil

import jax
import jax.numpy as jnp
import pytest

from jnas import run
from jnas.run import drive, progress
from jnas.training import program

STEPS = 4  # of an epoch


def counting(num_epochs):
    """A program whose parameter counts its steps, and whose loss is that count."""

    def step(key, clock, state, batches):
        return state + 1, {"loss": state + 1}

    return program.program(
        lambda key: jnp.float32(0),
        step,
        metrics=("loss",),
        num_examples=(STEPS,),
        batch_size=1,
        num_epochs=num_epochs,
    )


def train(folder, epochs, *, rate=1, finish=True, batch=None, **options):
    """Runs a training in a workdir; returns its result."""
    made = counting(epochs)
    if batch:
        made = made._replace(steps_per_epoch=batch)
    split = jnp.zeros((STEPS, 1, 1, 1)), jnp.zeros(STEPS, jnp.int32)
    settings = {"epochs": epochs, "rate": rate}
    options = {"extendable": ("epochs",)} | options
    with run.open_run(folder, settings=settings, **options) as r:
        if r.finished is not None:
            return r.finished
        phase = r.phase("train", made.num_steps, free=drive.FREE)
        if phase.result is None:
            state, metrics = drive.drive(phase, made, jax.random.key(0), (split,))
            phase.end({"w": float(state.inner), "last": phase.num_steps} | metrics)
        if finish:
            r.finish(phase.result)
        return phase.result


def test_a_finished_training_is_extended_from_its_last_state(tmp_path, capfd):
    """Every step ran once, and the last epoch's metric is that of its own steps."""
    assert train(tmp_path, 2)["w"] == 8
    found = train(tmp_path, 5, allow_changed=True)
    assert found["w"] == 20
    assert found["loss"] == (17 + 18 + 19 + 20) / 4
    text = capfd.readouterr().err
    assert "changed: epochs: 2 -> 5" in text
    assert "train: extends what was finished from step 8 of 20" in text
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["epochs"] == 5 and record["status"] == "finished"
    assert train(tmp_path, 5) == found


def extend(folder, epochs, act):
    """Opens a finished run of two epochs to extend it, and acts."""
    settings = {"epochs": epochs, "rate": 1}
    options = {"allow_changed": True, "extendable": ("epochs",)}
    with run.open_run(folder, settings=settings, **options) as r:
        act(r)


def test_an_extension_that_was_stopped_resumes(tmp_path):
    """Without the flag, for its settings are the run's by then."""
    train(tmp_path, 2)
    abstract = jax.eval_shape(counting(5).init, jax.random.key(0))

    def restore(r):
        r.phase("train", 20, free=drive.FREE).restore(abstract)

    extend(tmp_path, 5, restore)  # as a process that dies before its first step
    assert not (tmp_path / "result.json").exists()
    found = train(tmp_path, 5)
    assert found["w"] == 20
    assert train(tmp_path, 5) == found


def test_an_extension_that_cannot_begin_changes_nothing(tmp_path):
    """The finished run is what it was, and undoing the change shows it."""
    before, record = train(tmp_path, 2), (tmp_path / "run.json").read_text()

    def fail(r):
        raise ValueError("num_epochs must give fewer than 2**31 steps")

    for act in (fail, lambda r: None):
        with contextlib.suppress(ValueError):
            extend(tmp_path, 5, act)
        assert (tmp_path / "run.json").read_text() == record
        assert train(tmp_path, 2) == before


def test_a_run_is_extended_twice_and_says_from_where(tmp_path):
    """Steps of the phase, in order, in what later processes read too."""
    for epochs in (2, 3, 5):
        train(tmp_path, epochs, allow_changed=True)
    with run.open_run(tmp_path / "other") as r:
        assert r.phase("train", 4).extended_from == []
    manifest = json.loads((tmp_path / "checkpoints/20/MANIFEST.json").read_text())
    assert manifest["note"]["kept"]["train"]["extended_from"] == [8, 12]


def test_a_run_without_its_checkpoints_is_not_extended(tmp_path):
    """It would begin again, and be called an extension."""
    before = train(tmp_path, 2)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(run.RunError, match="checkpoints must hold the last state"):
        train(tmp_path, 5, allow_changed=True)
    assert train(tmp_path, 2) == before


def test_a_finished_phase_keeps_what_its_state_depends_on(tmp_path):
    """A cell whose file was exchanged is refused, not trained on."""
    with run.open_run(tmp_path) as r:
        phase = r.phase("train", 1)
        phase.must_keep(genotype="|a~0|", features=(1, 2))
        phase.observe(1, {"x": jnp.float32(0)}, {})
        phase.end({})
    with run.open_run(tmp_path) as r:
        phase = r.phase("train", 1)
        phase.must_keep(genotype="|a~0|", features=(1, 2))
        with pytest.raises(
            run.RunError, match=r"that of what train has saved, \|a~0\|"
        ):
            phase.must_keep(genotype="|b~0|")


def test_settings_that_an_earlier_release_did_not_know_are_no_change(tmp_path):
    """Unless they are given; a finished run of that release is shown again."""
    old = {"settings": {"epochs": 2, "rate": 1}, "flags": {"epochs": 2, "rate": 1}}
    new = {
        "settings": {"epochs": 2, "rate": 1, "augment": "auto", "cell": "|a~0|"},
        "flags": {"epochs": 2, "rate": 1, "augment": "auto"},
    }
    with run.open_run(tmp_path, **old) as r:
        r.finish({"accuracy": 1})
    with run.open_run(tmp_path, **new, default_flags=["augment"]) as r:
        assert r.finished == {"accuracy": 1}
    with pytest.raises(run.RunError, match="augment: None -> 'auto'"):
        run.open_run(tmp_path, **new)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 5}, r"which is finished.* Add --allow_changed to extend it"),
        ({"epochs": 1, "allow_changed": True}, "Only raising epochs extends it"),
        ({"epochs": 5, "rate": 2, "allow_changed": True}, "Only raising epochs"),
        ({"epochs": 2, "rate": 2, "allow_changed": True}, "Only raising epochs"),
        (
            {"epochs": 5, "allow_changed": True, "extendable": ()},
            "What it computed depends on its settings",
        ),
        ({"epochs": 5, "extendable": ()}, "Undo the change to see its result, or"),
    ],
)
def test_what_is_no_extension_is_refused_with_an_advice_that_works(
    tmp_path, changed, message
):
    """And the finished run stays as it was."""
    before = train(tmp_path, 2)
    with pytest.raises(run.RunError, match=message) as caught:
        train(tmp_path, **changed)
    text = str(caught.value)
    assert "epochs: 2 -> " in text or "rate: 1 -> 2" in text
    if changed.get("allow_changed"):
        assert "--allow_changed" not in text
    assert train(tmp_path, 2) == before


def test_a_run_cannot_end_before_the_step_that_is_saved(tmp_path):
    """It reported half its accuracy: an epoch's sum, divided by all its steps."""
    train(tmp_path, 3, finish=False)  # finished its phase, not the run
    with pytest.raises(run.RunError, match="train must have 12 steps, with which it"):
        train(tmp_path, 1, allow_changed=True)
    other = tmp_path / "other"
    made = counting(5)
    split = jnp.zeros((STEPS, 1, 1, 1)), jnp.zeros(STEPS, jnp.int32)
    settings = {"epochs": 5, "rate": 1}
    with run.open_run(other, settings=settings, checkpoint_steps=1) as r:
        phase = r.phase("train", 20, free=drive.FREE)

        class Stop(Exception):
            pass

        def stop(step, state, values):
            if step == 12:
                raise Stop

        with pytest.raises(Stop):
            drive.drive(phase, made, jax.random.key(0), (split,), warn=stop)
    with pytest.raises(run.RunError, match="at least the 1[01] steps that are saved"):
        train(other, 2, allow_changed=True)
    assert train(other, 4, allow_changed=True)["w"] == 16


def test_epochs_of_another_length_do_not_mix(tmp_path):
    """Half an epoch's sum of one length is no part of a mean over another."""
    settings = {"epochs": 5, "rate": 1}
    with run.open_run(tmp_path, settings=settings) as r:
        phase = r.phase("train", 20)
        phase.must_keep(steps_per_epoch=4)
        state = {"x": jnp.float32(0)}
        phase.restore(jax.eval_shape(lambda: state))
        phase.observe(2, state, {})
        phase._save()
    with run.open_run(tmp_path, settings=settings) as r:
        phase = r.phase("train", 20)
        with pytest.raises(run.RunError, match="steps_per_epoch must be that of what"):
            phase.must_keep(steps_per_epoch=8)
        phase.must_keep(steps_per_epoch=4)


def test_what_compiles_is_said_by_its_name(tmp_path, monkeypatch):
    """The second program, at the end of the first epoch; later it is only named."""
    said = []
    monkeypatch.setattr(
        progress.Progress,
        "activity",
        lambda self, text, left=None, compiles=False: said.append((text, compiles)),
    )
    made = program.program(
        lambda key: jnp.float32(0),
        lambda key, clock, state, batches: (state + 1, {"loss": state}),
        metrics=("loss",),
        num_examples=(STEPS,),
        batch_size=1,
        num_epochs=2,
        at_epoch_end=lambda key, clock, state, splits: (state, {}),
        between="watch",
        costs=((1, 1.0), (1, 2.0)),
    )
    assert made.between == "watch" and made.costs == ((4, 1.0), (4, 2.0))
    split = jnp.zeros((STEPS, 1, 1, 1)), jnp.zeros(STEPS, jnp.int32)
    with run.open_run(tmp_path) as r:
        phase = r.phase("train", made.num_steps, free=drive.FREE)
        drive.drive(phase, made, jax.random.key(0), (split,), after=("test",))
        phase.begins("test")
    compiling = [text for text, compiles in said if compiles]
    assert compiling == ["compiling", "compiling (watch)", "compiling (test)"]
    assert ("watch", False) in said and ("steps", False) not in said
