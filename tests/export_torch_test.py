"""Weights of DARTS' PyTorch network: both ways, against torch's own logits."""

import json
import pathlib

import forks
import jax
import numpy as np
import pytest
import safetensors
from safetensors import numpy as safetensors_numpy

from jnas import models, networks
from jnas.export import torch
from jnas.spaces import genotype_text, published

HERE = pathlib.Path(__file__).parent
FROZEN = HERE / "torch_network.safetensors"  # made by make_torch_network.py


@pytest.fixture(scope="module")
def frozen():
    """The genotype, the state dict, images NHWC and their logits, all of torch."""
    arrays = safetensors_numpy.load_file(FROZEN)
    with safetensors.safe_open(FROZEN, "np") as file:
        genotype = genotype_text.from_json(file.metadata()["genotype"])
    state = {
        name.removeprefix("state/"): array
        for name, array in arrays.items()
        if name.startswith("state/")
    }
    return genotype, state, arrays["images"].transpose(0, 2, 3, 1), arrays["logits"]


def logits(genotype, weights, images):
    """Computes the logits in jnas."""
    net = networks.derived(genotype, weights.size)

    @jax.jit
    def run(x):
        return net.apply(weights.params, weights.stats, x, train=False)[0][0]

    return np.asarray(run(images))


def test_the_logits_are_those_of_torch(frozen):
    """Every operation that the reference has and both kinds of preprocessing; 1e-5."""
    genotype, state, images, want = frozen
    weights = torch.from_torch(state, genotype)
    assert weights.size == networks.Size(2, 3, 10, 3)
    got = logits(genotype, weights, images)
    assert np.abs(want[0] - want[1]).max() > 0.01  # the weights matter
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_the_state_dict_comes_back_bit_for_bit(frozen):
    """All names that load_state_dict wants, counts of batches as 0."""
    genotype, state, *_ = frozen
    weights = torch.from_torch(state, genotype)
    again = torch.to_torch(genotype, *weights)
    assert set(again) == set(state)
    for name, array in again.items():
        assert array.dtype == state[name].dtype and array.shape == state[name].shape
        np.testing.assert_array_equal(array, state[name])
    half = {f"module.{n}": np.asarray(a, np.float16) for n, a in state.items()}
    found = torch.from_torch(half, genotype)
    assert {a.dtype for a in jax.tree.leaves(found.params)} == {np.dtype("float32")}


@pytest.mark.parametrize("name", ["AmoebaNet", "DARTS_V2"])
def test_size_and_auxiliary_head_are_read_from_the_arrays(name):
    """A network of jnas with the head, its arrays numbered so that none is taken twice.

    The head's names are the reference's.
    """
    genotype, size = published.genotype(name), networks.Size(4, 3, 7, 1)
    net = networks.derived(genotype, size, auxiliary=True)
    like = jax.eval_shape(net.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    trees = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), like)
    state = torch.to_torch(genotype, size, *trees)
    for layer in ("features.2", "features.3", "features.5", "features.6", "classifier"):
        assert f"auxiliary_head.{layer}.weight" in state
    assert state["auxiliary_head.features.5.weight"].shape == (768, 128, 2, 2)
    found = torch.from_torch(state, genotype)
    assert found.size == size
    for a, b in zip(trees, found[1:], strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_wrong_arrays_are_refused(frozen):
    """By name, in one line."""
    genotype, state, *_ = frozen

    def refused(change, message, cells=genotype):
        changed = dict(state)
        change(changed)
        with pytest.raises(ValueError, match=message) as caught:
            torch.from_torch(changed, cells)
        assert "\n" not in str(caught.value)

    name = "cells.0._ops.0.op.1.weight"
    refused(lambda s: s.pop(name), f"got no '{name}'")
    refused(lambda s: s.update(more=np.zeros(1)), "got also 'more'")
    refused(lambda s: s.pop("stem.0.weight"), "be a state dict of the CIFAR network")
    swapped = state["classifier.weight"].T
    refused(lambda s: s.update({name: swapped}), f"got '{name}' of shape")
    refused(lambda s: None, "that the network was trained with",
            published.genotype("DARTS_V1"))  # fmt: skip
    one_input = genotype_text.parse(
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", space="nasbench201"
    )
    refused(lambda s: None, "got 1 cells of 1 inputs", one_input)


def test_a_file_of_torch_save_is_never_opened(tmp_path):
    """Its ending is enough; the message has the lines that convert it."""
    for ending in (".pt", ".pth"):
        path = tmp_path / f"weights{ending}"
        path.write_bytes(b"\x80\x04cos\nsystem\n")
        with pytest.raises(ValueError, match="weights_only=True.*save_file") as caught:
            torch.read(path)
        assert "\n" not in str(caught.value)
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match="be an existing"):
        torch.read(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n" * 9)
    with pytest.raises(ValueError, match="be a .safetensors file"):
        torch.read(path)


def test_import_torch_makes_a_model(tmp_path, frozen):
    """The command; the model normalises raw pixels as --mean and --std say."""
    genotype, state, *_ = frozen
    torch.write(tmp_path / "w.safetensors", state)
    (tmp_path / "g.json").write_text(genotype_text.to_json(genotype))
    line = ["import_torch", "--weights=w.safetensors", "--genotype=g.json"]
    flags = ["--mean=0.1,0.2,0.3", "--std=0.5,0.25,1", "--image_size=8", "--out=model"]
    done = forks.launch(*line, *flags, cwd=tmp_path)
    assert done.status == 0, done.err
    fields = json.loads(done.out.splitlines()[-1])
    assert fields["features"] == 2 and not fields["auxiliary_head_left_out"]
    model = models.load(tmp_path / "model")
    raw = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.25, 1])
    want = logits(genotype, torch.from_torch(state, genotype), (raw / 255 - mean) / std)
    np.testing.assert_allclose(model.logits(raw), want, rtol=0, atol=1e-5)
    wrong = forks.launch(*line, "--mean=a,b,c", "--out=other", cwd=tmp_path)
    assert wrong.status == 1 and "mean must be numbers" in wrong.err
