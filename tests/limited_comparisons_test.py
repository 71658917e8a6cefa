"""Limits in quickstart and compare: everything that is compared keeps them."""

import functools
import itertools
import json

import forks
import jax
import numpy as np
import pytest

from jnas import data, networks, run, spaces
from jnas.discrete import comparison, tables
from jnas.spaces import genotype_text
from jnas.studies import (
    baselines,
    cells,
    compare_controllers,
    compare_methods,
    hand_made,
    quick,
    search_discrete,
    search_gradient,
)
from jnas.studies import limits as limit_flags

COMPACT = spaces.zoo.compact()
MINI = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
DUO = spaces.CellSpace(  # each node keeps two inputs
    "duo",
    ("normal",),
    2,
    2,
    ("skip_connect", "nor_conv_1x1", "nor_conv_3x3"),
    2,
    (2, 3),
)
DIGITS = data.shrink(data.load("digits"), 2)


def counted(cell, features, layers=1, dataset=DIGITS):
    """Counts a cell's network."""
    shape = dataset.image_shape
    size = networks.Size(
        features, layers, dataset.num_classes, shape[2], image_size=shape[:2]
    )
    return networks.measure(networks.derived(cell, size), dataset.image_shape)


@functools.cache
def known(space, features=4):
    """The costs of a space's candidates."""
    shape = DIGITS.image_shape
    size = networks.Size(features, 1, 10, 1, image_size=shape[:2])
    return networks.option_costs(space, size, DIGITS.image_shape)


def limit(space, name, bound):
    """A limit of the network of four features."""
    return networks.limit(name, bound, known(space)[name])


def test_random_cells_keep_the_limit_and_differ():
    """Those without it do not; an impossible number is fewer."""
    bound = 2_000
    free = cells.random_connected(COMPACT, 3, seed=0)
    assert max(counted(one, 4)["parameters"] for one in free) > bound
    within = [limit(COMPACT, "parameters", bound)]
    kept = cells.random_connected(COMPACT, 12, seed=0, limits=within)
    assert len(set(kept)) == 12
    assert max(counted(one, 4)["parameters"] for one in kept[:4]) <= bound
    assert not any(spaces.is_empty(COMPACT, COMPACT.encode(one)) for one in kept)
    assert cells.random_connected(COMPACT, 0, seed=0) == []
    again = cells.random_connected(COMPACT, 12, seed=1, limits=within)
    assert set(again) != set(kept)
    # without a convolution: a skip from 0 to 2 and any of the others' two operations,
    # or none from 0 to 2 and skips by way of node 1
    few = [limit(MINI, "parameters", networks.extent(known(MINI)["parameters"])[0])]
    found = cells.random_connected(MINI, 12, seed=0, limits=few)
    assert len(found) == len(set(found)) == 5


@pytest.mark.parametrize("space", [MINI, DUO], ids=lambda one: one.name)
def test_the_largest_cell_within_limits_by_enumeration(space):
    """Of every bound that matters, with one limit and with two."""
    rows = np.array(list(itertools.product(*map(range, space.sizes))), np.int32)
    weights = np.asarray(jax.vmap(space.weights)(rows))
    costs = known(space)
    sizes = networks.costs_of(costs["parameters"], weights)
    macs = networks.costs_of(costs["macs"], weights)
    for bound in sorted(set(sizes.tolist()))[::2]:
        one = [limit(space, "parameters", bound)]
        found = networks.dearest_within(space, costs["parameters"], one)
        assert (
            networks.costs_of(
                costs["parameters"], np.asarray(space.weights(found))[None]
            )
            == sizes[sizes <= bound].max()
        )
        both = [*one, limit(space, "macs", np.median(macs))]
        found = networks.dearest_within(space, costs["parameters"], both)
        fits = (sizes <= bound) & (macs <= np.median(macs))
        assert (
            networks.costs_of(
                costs["parameters"], np.asarray(space.weights(found))[None]
            )
            == sizes[fits].max()
        )


def test_the_cheapest_cell_that_computes_something_by_enumeration():
    """The cheapest of all computes nothing."""
    costs = known(MINI)["macs"]
    rows = np.array(list(itertools.product(range(3), repeat=3)), np.int32)
    weights = np.stack([np.asarray(MINI.weights(one)) for one in rows])
    every = networks.costs_of(costs, weights)
    useful = [not spaces.is_empty(MINI, one) for one in rows]
    assert networks.cheapest(MINI, costs) == every[useful].min()
    # one skip costs as much as none
    only = MINI.with_operations(["none", "nor_conv_1x1"])
    least = networks.option_costs(only, networks.Size(4, 1, 10, 1), DIGITS.image_shape)
    assert networks.cheapest(only, least["macs"]) > networks.extent(least["macs"])[0]


@pytest.mark.parametrize("name", ["plain_cnn"])
def test_a_hand_made_network_is_as_wide_as_the_limits_allow(name):
    """One feature more exceeds one of them; without limits it is wider."""
    whole = hand_made.build(name, DIGITS, parameters=3_000, dtype="float32")
    macs = networks.measure(whole.network(), whole.image_shape)["macs"]
    cost = networks.Costs(0.0, np.array([[[0.0, macs]]]), MINI)
    bound = networks.Limit("macs", macs // 2, cost, 1.0)
    kept = hand_made.build(
        name, DIGITS, parameters=3_000, dtype="float32", limits=[bound]
    )
    wider = type(kept)(**{**vars(kept), "features": kept.features + 1})
    here, more = (
        networks.measure(one.network(), one.image_shape)["macs"]
        for one in (kept, wider)
    )
    assert here <= macs // 2 < more and kept.features < whole.features
    with pytest.raises(ValueError, match=f"kept by the baseline {name} with one feat"):
        none = networks.Limit("macs", 1.0, cost, 1.0)
        hand_made.build(name, DIGITS, parameters=3_000, dtype="float32", limits=[none])


def test_a_hand_made_network_is_timed_once_a_run(tmp_path, monkeypatch):
    """And left out where it is too slow."""
    times = iter([3.0])
    monkeypatch.setattr(networks, "network_latency", lambda *_: next(times))
    cost = networks.Costs(0.0, np.zeros((1, 1, 1)), MINI)
    wanted = {"parameters": 900, "dtype": "float32"}
    for bound, fits in ((2.9, False), (3.0, True)):
        with run.open_run(tmp_path) as r:
            how = {
                "limits": [networks.Limit("latency_ms", bound, cost, 1.0)],
                "latency": hand_made.latencies(r),
            }
            if fits:
                assert hand_made.build("resnet", DIGITS, **wanted, **how).features
                continue
            with pytest.raises(ValueError, match="at least 3 for the baseline resnet"):
                hand_made.build("resnet", DIGITS, **wanted, **how)


PLUGIN = '''
"""A space of three edges."""
from jnas import registry, spaces

@registry.SPACES.register
def mini():
    """Three edges of three operations."""
    names = ("none", "skip_connect", "nor_conv_1x1")
    return spaces.CellSpace("mini", ("cell",), 1, 2, names, None, (2,))
'''


def quickstart(folder, *more):
    """A quickstart of seconds; returns its result and the found cell."""
    plugin = folder.parent / "mini.py"
    plugin.write_text(PLUGIN)
    done = forks.launch(
        "quickstart", f"--workdir={folder}", f"--plugins={plugin}", "--space=mini",
        "--data=digits", "--features=2", "--epochs=1", "--batch_size=64",
        "--finalists=2", "--finalist_epochs=1", "--retrain_features=4",
        "--retrain_epochs=1", "--retrain_seeds=1", *more, limit=300,
    )  # fmt: skip
    assert done.status == 0, done.err
    result = json.loads((folder / "result.json").read_text())
    return result, genotype_text.load(folder / "genotype.json"), done


@pytest.mark.slow
def test_a_quickstart_keeps_its_limit(tmp_path):
    """Every network of the comparison, counted anew; without it the cell breaks it."""
    least, _ = networks.extent(known(MINI)["parameters"])
    bound = int(least) + 40  # one convolution has 24 parameters with its norm
    few = ("--num_random=2", "--baselines=plain_cnn")
    result, cell, done = quickstart(tmp_path / "a", f"--max_parameters={bound}", *few)
    own = counted(cell, 4)["parameters"]
    assert own == result["parameters"] == result["limits"]["parameters"]["found"]
    rows = [one for one in result["cells"] if "parameters" in one]
    assert len(rows) >= 4 and all(one["parameters"] <= bound for one in rows)
    assert "--features=4 --layers=1" in result["next"]
    assert f"limit: max_parameters={bound:,} in the network of 4 features" in done.err
    alone = ("--num_random=0", "--nolargest_cell", "--baselines=", "--finalists=0")
    free, cell, _ = quickstart(tmp_path / "b", *alone)
    assert counted(cell, 4)["parameters"] == free["parameters"] > bound
    assert "limits" not in free


def of_mini(folder):
    """Writes a table of mini's cells with their parameters; returns its name."""
    rows = np.array(list(itertools.product(range(3), repeat=3)), np.int32)
    weights = np.stack([np.asarray(MINI.weights(one)) for one in rows])
    sizes = networks.costs_of(known(MINI)["parameters"], weights)
    metrics = {"test": np.arange(27.0, dtype=np.float32),
               "parameters": sizes.astype(np.float32)}  # fmt: skip
    made = tables.Table("made", MINI.sizes, MINI.gene_names, metrics)
    tables.write_npz(folder / "made.npz", made)
    return f"table:{folder / 'made.npz'}", rows, sizes


def searched(folder, monkeypatch, **bounds):
    """Compares a method on mini; returns (cells, JSON line, its plan, text)."""
    objective, _, _ = of_mini(folder)
    settings = compare_methods.MethodsSettings(
        methods=("drnas",), objective=objective, num_seeds=2, epochs=1,
        features=4, layers=1, batch_size=64, signal=("test",), report=("test",),
        **bounds,
    )  # fmt: skip
    found = []
    search = search_gradient.search_cells
    with monkeypatch.context() as patch:
        patch.setattr(
            search_gradient,
            "search_cells",
            lambda *args, **how: found.append(search(*args, **how)) or found[-1],
        )
        plan = compare_methods.prepare(settings, MINI, DIGITS)
        with run.open_run(folder / "run") as r:
            line, text = compare_methods.compare_methods(r, plan)
    return [cell for one in found for cell in one.genotypes], line, plan, text


@pytest.mark.slow
def test_methods_are_compared_among_cells_that_fit(tmp_path, monkeypatch):
    """Found cells, random search's, the percentile; without a limit they exceed it."""
    _, rows, sizes = of_mini(tmp_path)
    bound = float(sorted(set(sizes.tolist()))[1])  # one convolution
    (tmp_path / "a").mkdir()
    found, line, plan, _ = searched(tmp_path / "a", monkeypatch, max_parameters=bound)
    assert len(found) == 2
    assert all(counted(one, 4)["parameters"] <= bound for one in found)
    fitting = np.flatnonzero(sizes <= bound)
    assert np.array_equal(np.flatnonzero(plan.held), fitting)
    for name in ("drnas", "random_search"):
        assert line[name]["best"] in fitting and line[name]["unknown"] == 0
    # the best of the fitting cells is better than all but half of itself
    best = line["random_search"]["best"]
    assert best == fitting.max()
    whole = compare_methods.percentile(plan.truth, np.array([best]))
    assert whole == pytest.approx(100 * (len(fitting) - 0.5) / len(fitting))
    (tmp_path / "b").mkdir()
    free, line, _, _ = searched(tmp_path / "b", monkeypatch)
    assert max(counted(one, 4)["parameters"] for one in free) > bound
    assert line["random_search"]["best"] not in fitting


CONTROLLERS = ("local_search", "regularized_evolution", "reinforce")


@pytest.mark.parametrize("bound", [30_000, None])
def test_controllers_are_compared_among_cells_that_fit(bound):
    """Each run's cell by the table's column; without a limit some exceed it."""
    settings = compare_controllers.CompareSettings(
        controllers=CONTROLLERS, objective="table:digits201", num_runs=20,
        budget_evaluations=60, signal=("valid_12",),
        report=("test_12", "parameters"), max_parameters=bound,
    )  # fmt: skip
    plan = compare_controllers.prepare(settings)
    assert set(plan.controllers) == {"random_search", *CONTROLLERS}
    for controller in plan.controllers.values():
        runs = comparison.play(
            controller, plan.objective, num_runs=20, num_evaluations=60, seed=0
        )
        outcome, shares = compare_controllers._judge(plan, runs)
        sizes = -outcome.final[:, 2]  # minimised; NaN of a run without such a cell
        assert np.isfinite(sizes).mean() > 0.8
        sizes = sizes[np.isfinite(sizes)]
        every = plan.table.column("parameters")[plan.table.row(runs.encodings)]
        if bound is None:
            assert sizes.max() > 30_000 and shares["unfit_rate"] == 0
            continue
        assert sizes.max() <= bound and (every > bound).any()
        assert shares["unfit_rate"] == pytest.approx((every > bound).mean())
        assert shares["unknown_rate"] == 0


def test_cells_that_a_table_lacks_are_not_beyond_its_limits(tmp_path):
    """A limit that every known cell keeps changes no share, a lower one its own."""
    whole = tables.load("digits201")
    some = np.arange(0, whole.num_rows, 2)
    metrics = {n: whole.column(n)[some] for n in ("valid_12", "parameters")}
    part = tables.Table(
        "part",
        whole.sizes,
        whole.gene_names,
        metrics,
        whole.cells(some),
        ("parameters",),
    )
    tables.write_npz(tmp_path / "part.npz", part)
    most = metrics["parameters"].max()
    shares = {}
    for bound in (None, most, np.median(metrics["parameters"])):
        settings = compare_controllers.CompareSettings(
            controllers=("random_search",), objective=f"table:{tmp_path / 'part.npz'}",
            num_runs=20, budget_evaluations=20, signal=("valid_12",),
            report=("valid_12",), max_parameters=bound,
        )  # fmt: skip
        plan = compare_controllers.prepare(settings)
        (controller,) = plan.controllers.values()
        runs = comparison.play(
            controller, plan.objective, num_runs=20, num_evaluations=20, seed=0
        )
        shares[bound] = compare_controllers._judge(plan, runs)[1]
    free, loose, tight = shares.values()
    assert free == loose and free["unfit_rate"] == 0 and free["unknown_rate"] > 0.3
    assert tight["unknown_rate"] == free["unknown_rate"] and tight["unfit_rate"] > 0.1


def test_the_regret_is_that_of_the_best_cell_that_fits(tmp_path):
    """And the title names the limit."""
    settings = compare_controllers.CompareSettings(
        controllers=("local_search",), objective="table:digits201", num_runs=4,
        budget_evaluations=40, signal=("valid_12",), report=("test_12",),
        max_parameters=30_000,
    )  # fmt: skip
    plan = compare_controllers.prepare(settings)
    with run.open_run(tmp_path) as r:
        line, text = compare_controllers.compare(r, plan)
    table = plan.table
    best = table.column("test_12")[table.column("parameters") <= 30_000].max()
    assert best < table.column("test_12").max()
    row = next(one for one in text.splitlines() if one.startswith("| local_search"))
    regret = float(row.split("|")[3])
    assert regret == pytest.approx(
        best - line["local_search"]["test_12"]["mean"], abs=0.006
    )
    title = json.loads((tmp_path / "result.json").read_text())["table"]["title"]
    assert "cells within --max_parameters=30000, 40 evaluations" in title
    assert 0 < line["local_search"]["unfit_rate"] < 1


def test_limits_that_nothing_keeps_are_refused_with_the_smallest_number(tmp_path):
    """Before anything runs: in quickstart, of methods and of controllers."""
    least, _ = networks.extent(known(MINI)["parameters"])
    wanted = limit_flags.BoundSettings(max_parameters=least - 1)
    sizes = quick.QuickSettings(retrain_features=4)
    with pytest.raises(ValueError) as caught:
        search = quick.search(sizes, wanted)
        search_gradient.check_limits(MINI, search, DIGITS)
    said = str(caught.value)
    assert said.startswith(f"max_parameters must be at least {least:,.0f}, ")
    assert "--retrain_features and --layers" in said and "\n" not in said
    objective, _, _ = of_mini(tmp_path)
    with pytest.raises(
        ValueError, match=f"must be at least {least:,.0f}, .*--features"
    ):
        compare_methods.prepare(
            compare_methods.MethodsSettings(
                methods=("darts",), objective=objective, features=4,
                signal=("test",), report=("test",), max_parameters=least - 1,
            ),
            MINI,
            DIGITS,
        )  # fmt: skip
    with pytest.raises(ValueError, match="cheapest cells have parameters 18,594"):
        compare_controllers.prepare(
            compare_controllers.CompareSettings(
                budget_evaluations=9, objective="table:digits201",
                signal=("valid_12",), report=("test_12",), max_parameters=18_593,
            )
        )  # fmt: skip


@pytest.mark.parametrize("count", [0, 2])
def test_a_limit_that_only_empty_cells_keep_is_refused(count):
    """With the cheapest cell that computes something; taken, it is allowed.

    In searches by gradient and on images.
    """
    space = MINI.with_operations(["none", "nor_conv_1x1"])
    costs = known(space)["macs"]
    least = networks.cheapest(space, costs)
    for bound in (least - 1, least):
        wanted = limit_flags.BoundSettings(max_macs=bound)
        search = quick.search(
            quick.QuickSettings(retrain_features=4, finalists=count), wanted
        )
        discrete = search_discrete.DiscreteSettings(
            cost_features=4, cost_layers=search.cost_layers, max_macs=bound
        )
        checks = (
            lambda s=search: search_gradient.check_limits(space, s, DIGITS),
            lambda s=discrete: search_discrete.check_limits(space, s, DIGITS),
        )
        for check in checks:
            if bound == least:
                check()
                continue
            with pytest.raises(
                ValueError, match=f"{least:,.0f}, the cheapest cell whose"
            ):
                check()


@pytest.mark.parametrize("launcher", ["quickstart", "compare"])
def test_the_help_names_the_limits(launcher):
    """Each with its unit."""
    text = " ".join(forks.launch(launcher, "--help").out.split())
    for name in limit_flags.COSTS:
        assert f"--max_{name}" in text
    assert "Largest latency in milliseconds of one image" in text


def test_the_largest_cell_is_left_out_where_it_is_found():
    """Or where it computes nothing within the limits, and it is said."""
    least, most = networks.extent(known(MINI)["parameters"])
    training = quick.training(quick.QuickSettings(retrain_features=4))
    compared = baselines.BaselineSettings((), 3)
    empty = [limit(MINI, "parameters", least)]
    skip = MINI.genotype(np.array([0, 1, 0]))
    plan = baselines.prepare(
        skip, MINI, DIGITS, compared, training, seed=0, limits=empty
    )
    assert all(counted(one, 4)["parameters"] <= least for one in plan.cells.values())
    whole = [limit(MINI, "parameters", most)]
    plan = baselines.prepare(
        MINI.genotype(np.array([2, 2, 2])), MINI, DIGITS, compared, training,
        seed=0, limits=whole,
    )  # fmt: skip
    assert "with most parameters within the limits itself" in plan.left_out[0]
