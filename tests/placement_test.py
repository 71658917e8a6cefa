"""Tests of meshes: programs on several devices compute what one computes."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas.training import placement

SCRIPT = str(pathlib.Path(__file__).with_name("made_placements.py"))
# float64 sums of other orders; float32 would differ by kinks of ReLU and pools
ROUNDING = 1e-12
SMALL = 300  # numbers of an all-reduced or gathered operand; a batch has 2,304


def play(*names):
    """Plays scenes on four CPU devices, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *names],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


MESHES = {  # scene -> (devices, seeds, shares of a batch) of each mesh
    "search_of_one": [("4", 1, 4)],
    "search_of_two": [("4", 2, 2), ("2", 2, 1)],
    "train_one": [("4", 1, 4)],
    "train_two": [("4", 2, 2)],
    "tuning": [("4", 4, 1)],
}
SLOW = set(MESHES) - {"train_two"}  # over 20 s of CPU each, or alike


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in MESHES],
)
def test_meshes_compute_the_same(name):
    """State after the last step, on meshes of seeds x data, and what is sent for it.

    Devices that share a batch send sums, never activations; those of other seeds send
    their metrics alone, to be read by everyone.
    """
    found = play(name)[name]
    for count, seeds, data in MESHES[name]:
        one = found[count]
        assert one["mesh"] == {"seeds": seeds, "data": data}
        assert one["apart"] < ROUNDING
        if name == "tuning":  # its trials gather their states once an epoch
            continue
        sent = one["collectives"]
        assert max(largest for _, largest in sent.values()) <= SMALL
        if data == 1:
            assert set(sent) == {"all-gather"} and sent["all-gather"][1] <= 2
        else:
            assert "all-reduce" in sent


@pytest.mark.slow
def test_forms_of_gpu_are_split_too():
    """With the primitives of accelerators nothing but sums and metrics is sent."""
    found = play("gpu", "search_of_one")["search_of_one"]["4"]
    assert found["apart"] < ROUNDING
    assert max(n for _, n in found["collectives"].values()) <= SMALL
    assert set(found["collectives"]) == {"all-reduce"}


@pytest.mark.slow
def test_hooks_on_a_mesh():
    """The watch's figures and the projection's masks are those of one device."""
    found = play("watch_and_projection")["watch_and_projection"]
    assert found["watch"] < ROUNDING and found["params"] < ROUNDING
    assert found["masks"][0] == found["masks"][1]


def test_crops_need_no_other_device():
    """A gather by the images' numbers would all-reduce the batch in each step."""
    assert play("augmentation")["augmentation"] == {"collectives": {}, "equal": True}


@pytest.mark.slow
def test_populations_are_divided():
    """Six members on two groups of two devices."""
    scenes = play("populations", "one_shot", "comparisons")
    found = scenes["populations"]
    assert found["6"]["mesh"] == {"seeds": 2, "data": 2}
    assert found["6"]["apart"] == 0
    assert scenes["one_shot"]["apart"] == scenes["one_shot"]["recalibrated"] == 0
    assert scenes["one_shot"]["moved"] > 0
    assert scenes["comparisons"] == {"equal": True, "runs": 4}


def test_norms_of_each_device():
    """Outputs, running moments and a gradient, against NumPy on four parts."""
    found = play("norms_of_devices")["norms_of_devices"]
    assert found["layout"] == {"seeds": 1, "norm": 4, "data": 1}
    assert found["standardised"] < 1e-9 and found["running"] < 1e-9
    assert max(found["moments"]) < 1e-6  # running moments are float32
    assert found["slope"] < 1e-6  # central differences of step 1e-6


def test_batches_that_do_not_divide_are_refused():
    """In one line that says what to change; devices of their own seed share none."""
    one, two, none = play("refused")["refused"]
    rule = "batch_size must be a multiple of the {} devices that share a batch, got {}"
    assert one.startswith(rule.format(4, 6)) and two.startswith(rule.format(2, 7))
    assert one.endswith("Change --batch_size or --num_devices.") and none == ""


def test_one_device_has_no_mesh():
    """Programs are then plain jitted functions, and nothing is copied."""
    assert jax.device_count() == 1
    assert placement.mesh() is None and placement.layout(4) == {}
    assert isinstance(placement.jit(jnp.sin), type(jax.jit(jnp.sin)))
    x = jnp.ones(3)
    assert placement.put(x) is x and placement.split(x) is x
    placement.check_batch(7)
    found = placement.divided(lambda s, y: s * y, jnp.arange(3.0), 2.0)
    np.testing.assert_array_equal(found, [0, 2, 4])
