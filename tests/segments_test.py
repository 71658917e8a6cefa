"""Tests of a gradient search as phases of a run, interrupted between and in them."""

import dataclasses

import numpy as np
import pytest

from jnas import data, registry, run, spaces
from jnas import gradient as gradient_lib
from jnas.studies import gradient_segment, search_gradient

pytestmark = pytest.mark.optimised
SPACE = spaces.CellSpace(
    "mini", ("cell",), 2, 1, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)


def images():
    """Sixteen training images of two classes, four rows."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (20, 4, 4, 1), np.uint8), np.arange(20) % 2
    return data.Dataset("made", x[:16], y[:16], x[16:], y[16:], 2)


def settings(**changes):
    """DrNAS in two stages, whose second needs the weights of the first."""
    small = dict(
        epochs=2, batch_size=4, features=12, layers=1, watch_interval=0,
        relaxation="softmax",  # compiles faster
    )  # fmt: skip
    method = dataclasses.replace(
        registry.METHODS["drnas_progressive"](), **small | changes
    )
    return search_gradient.SearchSettings(method)


def search(folder, **changes):
    """Searches in a workdir; the same folder again resumes."""
    with run.open_run(folder, checkpoint_seconds=0.0) as r:
        return search_gradient.search_cells(r, images(), SPACE, settings(**changes))


def test_a_search_resumes_between_its_stages_and_inside_them(tmp_path, monkeypatch):
    """Interrupted before stage 2, and again inside it: the same weights to the bit."""
    # compiled once: a process of its own for each start would do the same
    build, built = gradient_lib.build_segments, {}

    def once(method, space, setting):
        if (method, space) not in built:
            built[method, space] = build(method, space, setting)
        return built[method, space]

    monkeypatch.setattr(gradient_lib, "build_segments", once)
    whole = search(tmp_path / "whole")

    class Stop(Exception):
        """A power cut."""

    drive = gradient_segment.drive

    def until_stage_two(phase, *args, **how):
        if phase.name == "search_2":
            raise Stop
        return drive(phase, *args, **how)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(gradient_segment, "drive", until_stage_two)
        search(tmp_path / "cut")

    observe = run.Phase.observe

    def one_call(self, step, *args, **kwargs):
        observe(self, step, *args, **kwargs)
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(run.Phase, "observe", one_call)
        search(tmp_path / "cut")
    again = search(tmp_path / "cut")
    np.testing.assert_array_equal(again.weights, whole.weights)
    assert again.genotype == whole.genotype
    for name in ("train_loss", "valid_loss"):
        assert again.result[name] == whole.result[name]
    # finished phases are skipped, and their results are read back
    third = search(tmp_path / "cut")
    np.testing.assert_array_equal(third.encodings, whole.encodings)
