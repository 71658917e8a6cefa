"""Tests of the benchmark: its passes, its figures, a whole run, and wrong flags."""

import json
import pathlib
import subprocess
import sys

import forks
import jax
import jax.numpy as jnp
import optax
import pytest

from jnas import networks
from jnas.bench import figures as figures_lib
from jnas.bench import steps as steps_lib
from jnas.gradient import bilevel
from jnas.training import timing

pytestmark = pytest.mark.usefixtures("compiled_anew")

ROOT = pathlib.Path(__file__).parent.parent
SIZES = {"features": 2, "layers": 3, "batch_size": 2, "image_size": 4}
FLAGS = [f"--{name}={value}" for name, value in SIZES.items()]
FIGURES = {
    "trace_seconds": 1.0, "compile_seconds": 3.0, "median_seconds": 0.5,
    "min_seconds": 0.25, "max_seconds": 1.0, "temp_bytes": 2_000_000,
    "matmul_share": 0.5, "copy_share": 0.25,
}  # fmt: skip


def launch(*flags, cwd=None):
    """Runs the launcher in a process of its own."""
    line = [sys.executable, str(ROOT / "experiments" / "benchmark.py"), *flags]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


def chain_macs(name, depth):
    """Counts a step on a chain of equal products, 1 image of 8 features, traced."""

    def loss(key, params, logits, x):
        for matrix in params:
            x = jnp.sin(logits * (x @ matrix))
        return x.sum(), ()

    def updated(values, grads):
        return [v - g for v, g in zip(values, grads, strict=True)]

    def weight(key, params, logits, x):
        grads, _ = jax.grad(loss, argnums=1, has_aux=True)(key, params, logits, x)
        return updated(params, grads)

    def architecture(key, params, logits, x):
        rule = bilevel.first_order(loss, loss, None)
        return rule(key, params, None, logits, None, x)

    def both(rule):
        method = bilevel.bilevel(
            loss, loss, params_optimizer=optax.sgd(0.1),
            logits_optimizer=optax.sgd(0.1), hypergradient=rule,
        )  # fmt: skip
        return lambda key, params, logits, x: method.step(
            key, method.init(params, logits), x, x
        )

    step = {
        "forward": loss,
        "weight": weight,
        "retrain": weight,
        "architecture": architecture,
        "first_order": both(bilevel.first_order),
        "second_order": both(bilevel.unrolled),
        "finite_difference": both(bilevel.finite_difference),
    }[name]
    params = [jnp.zeros((8, 8))] * depth
    args = jax.random.key(0), params, jnp.ones(8), jnp.zeros((1, 8))
    return networks.count_macs(step, *args)


@pytest.mark.parametrize("name", steps_lib.PASSES)
def test_passes_are_what_a_layer_more_costs(name):
    """Traced, with every gradient a product that can be counted: 64 a layer.

    The second order takes L_train forward and back twice, to save memory: 2 more.
    """
    macs = chain_macs(name, 6) - chain_macs(name, 5)
    again = 2 if name == "second_order" else 0
    assert macs == 64 * (steps_lib.PASSES[name] + again)


def test_steps_give_a_state_like_the_one_they_take():
    """And their counts stand in the proportion of their passes."""
    names = ["forward", "weight", "architecture"]
    steps = steps_lib.steps(names, **SIZES)
    assert list(steps) == names
    for name, step in steps.items():
        batch = jax.tree.map(lambda leaf: leaf[0], step.batches)
        state, _ = jax.eval_shape(step.function, step.state, batch, *step.args)
        like = jax.eval_shape(lambda state: state, step.state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
            lambda x: (x.shape, x.dtype), like
        )
        passes = steps_lib.PASSES[name]
        assert step.macs == passes * steps["forward"].macs > 0


def test_measure(monkeypatch):
    """100 MACs in 0.5 s are 400 FLOP/s; a state of 4 KiB is read and written.

    The call was a loop of two batches, and its second went to each step.
    """
    rates = timing.Rates(matmul_flops=4000.0, copy_bytes=65536.0)
    times = timing.Times(1.0, 0.5, 2.0)
    monkeypatch.setattr(timing, "machine_rates", lambda repeats: rates)
    monkeypatch.setattr(timing, "interleave", lambda calls, repeats: {"s": times})
    step = steps_lib.Step(
        lambda x, batch: (x + batch, None), jnp.ones(1024), jnp.ones(2), (), 100
    )
    result = figures_lib.measure({"s": step}, repeats=1)
    figures = result["steps"]["s"]
    assert set(figures) == set(FIGURES)
    assert (figures["median_seconds"], figures["matmul_share"]) == (0.5, 0.1)
    temporaries = 2 * figures["temp_bytes"]
    assert figures["copy_share"] == pytest.approx(0.25, abs=temporaries / 65536 + 0.01)
    json.dumps(result)


def test_tables():
    """Units of the heading, and ratios above 1 for what became less."""
    table = figures_lib.table({"a": FIGURES})
    assert table.rows == [["a", 1.0, 3.0, 500.0, 250.0, 1000.0, 2.0, 0.5, 0.25]]
    now = FIGURES | {"median_seconds": 0.25, "compile_seconds": 0.0, "temp_bytes": 0}
    ratios = figures_lib.ratios({"a": FIGURES, "b": FIGURES}, {"a": now, "c": now})
    assert ratios.rows == [["a", 2.0, 4.0, None]]


def test_a_whole_run_and_its_comparison(tmp_path):
    """The last line is the object; the file holds it; against itself all is 1."""
    line = [*FLAGS, "--steps=retrain", "--repeats=1"]
    done = launch(*line, "--json=out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert (tmp_path / "out.json").read_text() == last + "\n"
    result = json.loads(last)
    assert result["shape"] == SIZES and set(result["steps"]) == {"retrain"}
    assert set(result["steps"]["retrain"]) == set(FIGURES)
    assert all(value > 0 for value in result["steps"]["retrain"].values())
    assert "| retrain |" in done.stdout
    found = figures_lib.read(str(tmp_path / "out.json"), SIZES)
    same = figures_lib.ratios(found["steps"], result["steps"])
    assert same.rows == [["retrain", 1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"steps": 1, "shape": {}}', '{"steps": {"a": {}}, "shape": {}}',
     "no json", json.dumps({"steps": {"a": FIGURES}})],
)  # fmt: skip
def test_what_is_no_object_is_refused(tmp_path, text):
    """Whatever is wrong with the last line."""
    path = tmp_path / "earlier.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="compare must be a file whose last line"):
        figures_lib.read(str(path), SIZES)


WRONG = {
    "--steps=foward": "Did you mean 'forward'?",
    "--steps=": "steps must be some of forward, weight",
    "--preset=papr": "Did you mean 'paper'?",
    "--workdir=x": "got --workdir. --help lists them.",
    "--repeats=0": "--repeats must be",
    "--loop=0": "--loop must be",
    "--features=0": "--features must be",
    "--compare=no.json": "compare must be a file whose last line",
    "--compare=other.json": "compare must have the same sizes",
    "--json=no/out.json": "json must be a file in an existing folder",
}


def test_wrong_flags_are_told_in_a_line(tmp_path):
    """Before anything is compiled."""
    earlier = {"steps": {"a": FIGURES}, "shape": SIZES}
    (tmp_path / "other.json").write_text("a table\n\n" + json.dumps(earlier))
    answers = forks.run([["benchmark", flag] for flag in WRONG], tmp_path)
    for (flag, words), answer in zip(WRONG.items(), answers, strict=True):
        assert answer.status > 0 and answer.out == "", flag
        (line,) = answer.err.splitlines()
        assert words in line, flag
