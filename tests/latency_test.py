"""Tests of the table of latencies: its sums, its file, and when it is measured."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, run, spaces
from jnas.networks import costs as costs_lib
from jnas.networks import latency
from jnas.studies import limits

SPACE, SIZE, IMAGE = spaces.zoo.tiny(), networks.Size(4, 3, 10, 1), (9, 7, 1)


@pytest.fixture
def counted(monkeypatch):
    """Replaces each duration by a count, so that sums are known; lists the calls."""
    calls = []

    def macs(apply, shape, num_repeats, clock):
        calls.append(shape)
        return 2.0 + networks.count_macs(apply, jnp.zeros(shape))

    monkeypatch.setattr(latency, "_time", macs)
    return calls


def test_a_table_s_sums_are_those_of_the_network(counted):
    """Milliseconds that are multiply-accumulates: the same base and edges."""
    table = networks.measure_latencies(SPACE, SIZE, IMAGE)
    found = table.costs(SPACE, SIZE, IMAGE)
    wanted = networks.option_costs(SPACE, SIZE, IMAGE)["macs"]
    np.testing.assert_array_equal(found.options, wanted.options)
    assert found.base == wanted.base + 2  # an empty loop's time is taken off elsewhere
    cell = spaces.encoding.sample(jax.random.key(0), SPACE.sizes)
    whole = networks.derived(SPACE.genotype(cell), SIZE)
    weights = np.asarray(SPACE.weights(cell), np.float64)
    got = found.base + (weights * found.options).sum()
    assert got == 2 + networks.measure(whole, IMAGE)["macs"]


def test_the_base_is_of_a_network_that_is_computed(counted, monkeypatch):
    """Of skip connections, not of a cell of ``none``, which XLA would remove."""
    space, size, seen = spaces.zoo.nasbench201(), networks.Size(4, 1, 10, 1), []

    def derived(genotype, size):
        seen.append(genotype)
        return networks.derived(genotype, size)

    monkeypatch.setattr(latency.network, "derived", derived)
    networks.measure_latencies(space, size, IMAGE)
    operations = {op for _, cell in seen[0].cells for _, _, op in cell.edges}
    assert len(seen) == 1 and "none" not in operations


def test_equal_candidates_are_timed_once(counted):
    """Once a kind and shape, once an empty loop a shape, and one network."""
    networks.measure_latencies(SPACE, SIZE, IMAGE)
    spots = {spot for _, spot in costs_lib.spots(SPACE, SIZE, IMAGE)}
    images = {(s.rows, s.columns, s.features) for s in spots}
    assert len(counted) == len(spots) + len(images) + 1
    # three layers of two cells: 5 edges of 3 candidates each, many of them equal
    assert len(spots) < 3 * 5 * 3 == len(costs_lib.spots(SPACE, SIZE, IMAGE))


def test_a_loop_s_time_is_the_median_over_its_steps():
    """With a clock that is a list of durations."""
    spans = iter(
        [9.0, 0.5, 0.5, 0.001, 0.002, 0.5, 0.5, 0.5, 0.06, 0.5, 0.040, 0.02, 0.080]
    )
    now = [0.0, False]

    def clock():
        if now[1]:
            now[0] += next(spans)
        now[1] = not now[1]
        return now[0]

    # compiled; the shortest of three runs of 1 and of 2 steps is too short, of 4 is
    # long enough; three repeats of 4 steps
    got = latency._time(lambda x: x, (1, 2, 2, 1), 3, clock)
    assert got == pytest.approx(1e3 * 0.040 / 4)


def test_every_output_is_computed_in_the_loop():
    """The operation is inside, and the image of a step depends on the one before."""
    seen = []

    def apply(x):
        jax.debug.callback(lambda x: seen.append(float(x.sum())), x)
        return x * 2

    ticks = iter([0.0, 1.0] + [float(i) for i in range(2, 20)])
    latency._time(apply, (1, 2, 2, 1), 2, lambda: next(ticks))
    jax.effects_barrier()
    assert len(seen) == 6  # compiled, tried three times, and two repeats of one step


def test_the_file_gives_the_same_table_back(counted, tmp_path):
    """Kept in the run's folder, so that a resumed run has the same numbers."""
    with run.open_run(tmp_path) as r:
        first = limits.costs(r, SPACE, SIZE, IMAGE, ("latency_ms",))["latency_ms"]
    content = json.loads((tmp_path / "latency.json").read_text())
    assert content["device"] == f"{jax.devices()[0].device_kind} (cpu)"
    number = len(counted)
    with run.open_run(tmp_path) as r:
        again = limits.costs(r, SPACE, SIZE, IMAGE, ("latency_ms",))["latency_ms"]
        assert len(counted) == number
        np.testing.assert_array_equal(first.options, again.options)
        assert first.base == again.base
        other = networks.Size(6, 3, 10, 1)  # another network is measured again
        limits.costs(r, SPACE, other, IMAGE, ("latency_ms",))
        assert len(counted) > number
        content = json.loads((tmp_path / "latency.json").read_text())
        assert content["network"]["size"]["features"] == 6
        number = len(counted)
        path = tmp_path / "latency.json"  # a resumed run on another device keeps them
        path.write_text(json.dumps(content | {"device": "another"}))
        limits.costs(r, SPACE, other, IMAGE, ("latency_ms",))
        assert len(counted) == number


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"base": -1.0},
        {"base": float("nan")},
        {"candidates": [{"operation": "skip_connect"}]},
        {"candidates": None},
        {"device": "x", "base": True},
    ],
    ids=["version", "negative", "nan", "missing", "none", "bool"],
)
def test_a_damaged_file_is_refused(counted, change):
    """By name, with what to do."""
    content = networks.measure_latencies(SPACE, SIZE, IMAGE).to_json() | change
    with pytest.raises(ValueError, match="latency.json must hold jnas.latency 1"):
        latency.from_json(content)


@pytest.mark.slow
def test_measured_latencies_are_finite_and_of_every_candidate():
    """Whatever they are: none is negative, and the base is a part of the network."""
    table = networks.measure_latencies(SPACE, SIZE, IMAGE, num_repeats=1)
    found = table.costs(SPACE, SIZE, IMAGE)
    assert np.isfinite(found.options).all() and (found.options >= 0).all()
    assert found.base >= 0 and set(table.spots.values()) != {0.0}
