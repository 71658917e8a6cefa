"""A network of one's own, in plain JAX or Flax, goes through every family of search."""

import json
import pathlib

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import models, networks, registry, spaces, testing
from jnas.networks import functional, latency, network

PLUGIN = str(pathlib.Path(__file__).parent / "own_mlp.py")
TINY = ("--data=digits", "--features=2", "--space=mlp", f"--plugins={PLUGIN}")
SHORT = ("--epochs=2", "--batch_size=256")


@pytest.fixture
def own(monkeypatch):
    """The plug-in, loaded for one test."""
    for name in ("SPACES", "SUPERNETS", "DERIVED"):
        one = getattr(registry, name)
        monkeypatch.setattr(one, "_entries", dict(one))
    registry.load_plugins([PLUGIN])
    return registry.SPACES["mlp"]()


def launch(tmp_path, launcher, name, *args, **options):
    """Runs a launcher; returns its result."""
    folder = tmp_path / name
    line = (launcher, f"--workdir={folder}", *TINY, *args)
    done = forks.launch(*line, limit=200, **options)
    assert not done.status, done.err
    return json.loads((folder / "result.json").read_text()), folder


def test_it_keeps_the_contracts(own):
    """Every row has a gradient; networks of one genotype have its outputs."""
    testing.check_space("mlp")
    testing.check_supernet("mlp", "mlp")


def test_a_genotype_s_network_is_the_supernet_at_its_weights(own):
    """In training and evaluation, with the supernet's parameters and no statistics."""
    size = networks.Size(2, 1, 3, channels=1)
    genotype = own.genotype([2, 0, 1])
    net, alone = networks.supernet(own, size), networks.derived(genotype, size)
    params, stats = alone.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    want = net.apply(params, x, own.weights(jnp.array([2, 0, 1])))
    for train in (True, False):
        (found, extra), after = alone.apply(params, stats, x, train=train)
        np.testing.assert_array_equal(found, want)
        assert extra is None and after == {}


def test_options_that_a_builder_lacks_are_refused(own):
    """Unless they are off: nothing is silently ignored."""
    size = networks.Size(2, 1, 3, channels=1)
    networks.supernet(own, size, remat=False, dtype=jnp.float32)
    with pytest.raises(ValueError, match="remat must be left out for the network 'ml"):
        networks.supernet(own, size, remat=True)
    with pytest.raises(ValueError, match="dtype must be left out for the network"):
        networks.derived(own.genotype([0] * 3), size, dtype=jnp.bfloat16)
    with pytest.raises(KeyError, match="Did you mean 'mlp'"):
        networks.supernet(spaces.ChoiceSpace("x", {"a": ("b", "c")}, "mlq"), size)


def test_gradient_evolution_and_reinforce(tmp_path):
    """By its plug-in alone: searched, trained from scratch, saved, asked, resumed."""
    found, folder = launch(
        tmp_path, "search", "gradient", *SHORT, "--logits_learning_rate=.03"
    )
    genotype = json.loads((folder / "genotype.json").read_text())
    assert genotype["version"] == 2
    assert set(genotype["choices"]) == {"act/0", "act/1", "pool"}
    assert (folder / "report.html").stat().st_size > 10_000
    line = json.loads((folder / "weights.jsonl").read_text().splitlines()[-1])
    assert set(line["weights"]) == {"act", "mlp"}
    supernet = models.load_supernet  # which needs the plug-in
    registry.load_plugins([PLUGIN])
    try:
        loaded = supernet(folder)
        images = np.zeros((2, 8, 8, 1), np.uint8)
        assert loaded.apply(images).shape == (2, 10)
        assert loaded.logits["act"].shape == (2, 3)
    finally:
        for name in ("SPACES", "SUPERNETS"):
            getattr(registry, name)._entries.pop("mlp")
    again = forks.launch("search", f"--workdir={folder}", *TINY, *SHORT,
                         "--logits_learning_rate=.03")  # fmt: skip
    assert "is finished" in again.out
    shared, _ = launch(tmp_path, "search_discrete", "shared", *SHORT,
                       "--num_evaluations=6")  # fmt: skip
    assert shared["one_shot_accuracy"] > 0 and found["valid_accuracy"] > 0
    scratch, _ = launch(
        tmp_path, "search_discrete", "scratch", *SHORT, "--num_evaluations=4",
        "--objective=scratch", "--controller=reinforce", "--num_proposals=2",
    )  # fmt: skip
    assert scratch["evaluations"] == 4 and 0 < scratch["valid_accuracy"] < 1
    trained, folder = launch(
        tmp_path, "retrain", "retrain", *SHORT,
        f"--genotype={tmp_path / 'gradient' / 'genotype.json'}",
    )  # fmt: skip
    assert trained["parameters"] == found["parameters"]
    assert (folder / "model" / "model.json").exists()


def test_costs_of_a_network_of_its_own(own):
    """Counted by its derived networks where they are registered; else one line says."""
    size = networks.Size(2, 1, 3, channels=1)
    with pytest.raises(ValueError, match="space mlp must have a derived network for"):
        networks.option_costs(own, size, (8, 8, 1))

    @registry.DERIVED.register(name="mlp")
    def derived(genotype, size):
        """A network that has a dense layer only where the activation is no tanh."""
        wide = [i for i in range(2) if genotype[f"act/{i}"] != "tanh"]

        def init(key):
            kernels = {str(i): jnp.ones((5, 5 + i)) for i in wide}
            return {"last": jnp.ones((4, size.num_classes)), **kernels}, {}

        def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
            y = x[:, :2, :2].mean(-1).reshape(len(x), -1)
            for i in wide:
                y = y + (y @ params[str(i)][:4, :4])
            return (y @ params["last"], None), stats

        return network.Network(init, apply)

    costs = networks.option_costs(own, size, (8, 8, 1))["parameters"]
    assert costs.base + 0 == 12 + 25 + 30
    np.testing.assert_array_equal(costs.options["act"], [[0, -25, 0], [0, -30, 0]])
    limit = networks.limit("parameters", 40, costs)
    weights = {"act": np.array([[0.9, 0.05, 0.05]] * 2), "pool": np.array([0.4, 0.6])}
    np.testing.assert_array_equal(
        networks.best_within(own, weights, [limit]), [0, 1, 1]
    )


def test_costs_that_do_not_add_up_are_refused(own):
    """A network that is wide only where both choices are: no sum over choices."""

    @registry.DERIVED.register(name="mlp")
    def derived(genotype, size):
        """As large as the product of two choices."""
        count = [1 + ("relu", "tanh", "gelu").index(genotype[f"act/{i}"])
                 for i in range(2)]  # fmt: skip
        init = lambda key: ({"w": jnp.ones(count)}, {})  # noqa: E731

        def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
            return (x[:, 0, 0], None), stats

        return network.Network(init, apply)

    with pytest.raises(ValueError, match="parameters of space mlp must be a sum over"):
        networks.option_costs(own, networks.Size(2, 1, 3, channels=1), (8, 8, 1))


def test_latencies_are_those_of_derived_networks(own, monkeypatch):
    """Each option's difference from the fastest of its row; the rest is the base."""
    took = {"relu": 1.0, "tanh": 4.0, "gelu": 2.0, "mean": 0.5, "max": 0.25}
    size = networks.Size(2, 1, 3, channels=1)
    with pytest.raises(ValueError, match="a derived network for its latency, got none"):
        networks.measure_latencies(own, size, (8, 8, 1))

    @registry.DERIVED.register(name="mlp")
    def derived(genotype, size):
        """The genotype itself, which is what the stand-in clock reads."""
        return genotype

    def measured(genotype, *more, **numbers):
        return 7 + sum(took[option] for _, option in genotype.choices)

    monkeypatch.setattr(latency, "network_latency", measured)
    table = networks.measure_latencies(own, size, (8, 8, 1))
    again = latency.from_json(json.loads(json.dumps(table.to_json())))
    for one in (table, again):
        costs = one.costs(own, size, (8, 8, 1))
        for genes in np.ndindex(*own.sizes):
            want = measured(own.genotype(genes))
            np.testing.assert_allclose(costs.of(own.weights(jnp.array(genes))), want)


def test_a_supernet_in_flax(monkeypatch):
    """By ``functional``: an nnx module that takes (images, weights)."""
    for name in ("SPACES", "SUPERNETS"):
        one = getattr(registry, name)
        monkeypatch.setattr(one, "_entries", dict(one))

    class Net(nnx.Module):
        def __init__(self, size, rngs):
            self.conv = nnx.Conv(size.channels, 4, (3, 3), rngs=rngs)
            self.wide = nnx.Conv(size.channels, 4, (5, 5), rngs=rngs)
            self.linear = nnx.Linear(4, size.num_classes, rngs=rngs)

        def __call__(self, given):
            x, weights = given
            small, large = weights["kernel"]
            y = nnx.relu(small * self.conv(x) + large * self.wide(x))
            return self.linear(y.mean((1, 2)))

    @registry.SPACES.register
    def flax_net():
        """Two kernels."""
        return spaces.ChoiceSpace("flax_net", {"kernel": ("3", "5")}, "flax_net")

    @registry.SUPERNETS.register(name="flax_net")
    def build(space, size):
        """Both convolutions, weighed."""
        net = functional.functional(lambda rngs: Net(size, rngs))

        def apply(params, x, weights):
            return net.apply(params, {}, (x, weights))[0]

        return networks.Supernet(lambda key: net.init(key)[0], apply, space)

    testing.check_space("flax_net")
    testing.check_supernet("flax_net", "flax_net")
