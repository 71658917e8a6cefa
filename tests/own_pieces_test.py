"""Pieces of a method that a user writes in one short file and names by flag."""

import json
import re

import forks
import pytest

from jnas.spaces import genotype_text

PIECES = '''
import jax
import jax.numpy as jnp
from jnas import registry


@registry.RELAXATIONS.register
def last_only(key, logits, progress):
    """One-hot rows on the last candidate, with the gradient of softmax."""
    soft = jax.nn.softmax(logits, -1)
    return soft + jax.lax.stop_gradient(jnp.eye(logits.shape[-1])[-1] - soft)


@registry.REGULARIZERS.register
def hundred(logits, weights, progress):
    """A hundred times the share of the last candidate, and one for progress."""
    return 100 * weights[..., -1].mean() + 0 * progress


@registry.SELECTIONS.register
def second_candidates(space, weights):
    """The same cell, whatever was learnt."""
    return jnp.ones(len(space.sizes), jnp.int32)
'''
SMALL = ["--data=digits", "--shrink=2", "--space=nasbench201", "--features=2",
         "--layers=1", "--batch_size=64", "--epochs=1",
         "--operations=none,skip_connect,nor_conv_1x1"]  # fmt: skip


def launch(*flags):
    """Runs search.py in a fork, which alone registers the pieces."""
    return forks.launch("search", *SMALL, *flags, limit=600)


def test_a_relaxation_a_regularizer_and_a_selection_of_ones_own(tmp_path):
    """Thirty lines at most; each of the three shows in the run's figures."""
    assert len(PIECES.strip().splitlines()) <= 30
    (tmp_path / "mine.py").write_text(PIECES)
    done = launch(
        f"--workdir={tmp_path / 'run'}",
        f"--plugins={tmp_path / 'mine.py'}",
        "--relaxation=last_only",
        "--eval_relaxation=last_only",
        "--regularizers=hundred",
        "--selection=second_candidates",
    )
    assert done.status == 0, done.err
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert abs(row["entropy"]) < 1e-5  # the relaxation: one-hot rows
    assert 100 < row["valid_loss"] < 110  # the regularizer: at the level of logits only
    assert row["train_loss"] < 10
    found = genotype_text.from_json((tmp_path / "run" / "genotype.json").read_text())
    assert {op for _, _, op in found.cells[0][1].edges} == {"skip_connect"}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"eigenvalue", "discretization_gap", "one_hot_accuracy"} <= set(result)
    assert result["eigenvalue"] == pytest.approx(row["eigenvalue"])
    # and so the watch sees it: six skips, and says so in one line
    assert row["count_skip_connect"] == 6
    assert "warning: 6 of 6 operations are skip_connect" in done.err


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--method=dart", "method must be one of .* Did you mean 'darts'"),
        ("--partial=5", "features must be a multiple of partial=5, got 2"),
    ],
)
def test_wrong_pieces_are_refused_in_one_line(tmp_path, flag, line):
    """Before anything is compiled, status not zero, no traceback."""
    done = launch(f"--workdir={tmp_path / 'run'}", flag)
    assert done.status != 0
    text = done.err.strip().splitlines()
    assert len(text) == 1
    assert re.search(line, text[0]), text[0]


def test_every_piece_has_its_flag():
    """What a method is made of can be named on the command line."""
    done = launch("--help")
    for name in ("relaxation", "hypergradient", "perturbation", "regularizers",
                 "selection", "eval_relaxation", "max_skips", "partial", "edge_weights",
                 "auxiliary_skip", "projection_epochs", "hooks", "alternation",
                 "optimizer", "logits_optimizer", "observers",
                 "watch_interval", "logits_learning_rate"):  # fmt: skip
        assert f"--{name}" in done.out or f"--[no]{name}" in done.out, name
