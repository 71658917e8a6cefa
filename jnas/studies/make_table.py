"""A benchmark table: every cell of a small space trained from scratch, as a phase."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import networks, registry, spaces, types
from jnas import settings as settings_lib
from jnas.discrete import objectives, tables
from jnas.discrete.objectives import workers
from jnas.run import drive, workdir
from jnas.settings import option
from jnas.studies import augmentation, inputs, members, setup
from jnas.training import placement

SPLITS = ("valid", "test")


@dataclasses.dataclass(frozen=True)
class TableSettings:
    """How each cell is trained; the defaults are those of ``tables.digits201``.

    The fields carry their own help text.
    """

    features: int = setup.features_option(8)
    layers: int = setup.layers_option(1)
    stem: str = setup.stem_option()
    batch_size: int = option(40, "Images in a batch.", group="schedule")
    epochs: int = option(12, "Epochs of the full budget.", group="schedule", least=1)
    short_epochs: int = option(
        3,
        "Epochs of the short budget, which is a training of its own.",
        group="schedule",
        least=1,
    )
    valid_rate: float = option(
        0.88, "Share of the training images that validates.", group="data"
    )
    learning_rate: float = option(
        0.1,
        "Learning rate at the start of the cosine schedule, which ends at 0.",
        group="schedule",
        least=0,
    )
    num_seeds: int = option(
        3, "Number of trainings of each cell and budget.", group="search", least=1
    )

    def __post_init__(self):
        """Raises ValueError if the short budget is not shorter."""
        settings_lib.check(self)
        if self.short_epochs >= self.epochs:
            raise ValueError(
                f"short_epochs must be below epochs, {self.epochs}, got "
                f"{self.short_epochs}. Lower it."
            )

    @property
    def budgets(self) -> tuple[int, int]:
        """The short and the full budget, in epochs."""
        return self.short_epochs, self.epochs


def trainer(
    dataset: data_lib.Dataset,
    space: spaces.Space,
    settings: TableSettings,
    *,
    seed: int,
    count: int = 1,
) -> Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]:
    """Builds (numbers, trials) -> accuracies and seconds of some trainings.

    Args:
      dataset: its training images are split in two; images are not augmented.
      space: of the cells.
      settings: of the trainings.
      seed: of the split and, with number and trial, of each training.
      count: number N of trainings side by side.

    Returns:
      The function: numbers [N] are ``encoding.index`` of cells, trials [N] count the
      trainings of each; N is always the same, and trained side by side on as many
      devices as divide it. It gives accuracies f32[N, budgets, splits] in percent,
      or another task's signal as it is, and seconds f32[N, budgets], evaluation
      included, those of the slowest of all N; the first call compiles.
    """
    inputs.check(space, dataset)
    scale = 100 if dataset.task.signal == "accuracy" else 1  # percent
    train, valid = setup.two_splits(dataset, settings.valid_rate, seed=seed)
    test = jax.tree.map(jnp.asarray, (dataset.x_test, dataset.y_test))
    plain = augmentation.build(augmentation.AugmentSettings(augment="none"), dataset)
    size = setup.network_size(settings, dataset, stem=settings.stem)
    budgets = [
        _side_by_side(
            objectives.scratch(
                space,
                size,
                train,
                (valid, test),
                augment=plain,
                num_epochs=epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                task=dataset.task,
            ),
            count,
        )
        for epochs in settings.budgets
    ]

    @jax.jit
    def draw(numbers, trials):
        def one(number, trial):
            key = jax.random.fold_in(jax.random.key(seed), number)
            return jax.random.split(jax.random.fold_in(key, trial), len(budgets))

        return jax.vmap(one, out_axes=1)(numbers, trials)

    def run(numbers, trials):
        keys = draw(jnp.asarray(numbers), jnp.asarray(trials))
        encodings = [spaces.encoding.from_index(int(n), space.sizes) for n in numbers]
        scores, seconds = [], []
        for own, one in zip(keys, budgets, strict=True):
            began = time.perf_counter()
            scores.append(np.asarray(one(own, np.stack(encodings))))
            seconds.append(time.perf_counter() - began)
        taken = np.tile(np.float32(seconds), (len(numbers), 1))
        return scale * np.stack(scores, 1), taken

    return run


def _side_by_side(objective: types.Objective, count: int) -> Callable:
    """Builds (keys [N], encodings i32[N, G]) -> scores f32[N, M], each of its key."""

    def one(member):
        key, encoding = member
        return objective(key, encoding[None])[0]

    def all_of(keys, encodings):
        return placement.divided(one, (keys, encodings))

    return placement.jit(all_of, count=count)


def train_all(
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.Space,
    settings: TableSettings,
    *,
    hands: tuple[workers.Pool, workers.Journal] | None = None,
) -> tables.Table:
    """Trains one cell of each set of equal graphs, as the phase ``table``.

    Each device trains a cell of its own; with several devices, the seconds of a cell
    are those of the slowest that was trained beside it. A worker trains one at a time.

    Args:
      run: the open run; its seed is that of the data split and of all trainings.
      dataset: the images.
      space: of at most a million cells.
      settings: of the trainings.
      hands: workers that train the cells; None trains them here.

    Returns:
      The table: mean accuracies (or another task's signal) ``valid_E`` and ``test_E``
      for E epochs, those of each seed, ``seconds_E``, the least of the seeds',
      ``seconds`` of the full budget, ``parameters``.
    """
    inputs.check(space, dataset)
    first = spaces.representatives(space)
    _ = _a_network(space, settings, dataset)  # raises
    numbers = np.unique(first)
    shape = settings.num_seeds, len(numbers), len(settings.budgets)
    empty = {
        "scores": jnp.zeros((*shape, len(SPLITS))),
        "seconds": jnp.zeros(shape),
    }
    phase = run.phase("table", settings.num_seeds * len(numbers))
    num_devices = 1 if hands else placement.num_devices()
    phase.must_keep(**drive.norm_devices(num_devices))
    if phase.result is None:
        phase.runs_on({} if hands else placement.layout(num_devices))
        done, state = phase.restore(jax.eval_shape(lambda: empty)) or (0, empty)
        state = {name: np.array(leaf) for name, leaf in state.items()}
        if hands:
            count, train = 4 * hands[0].num_workers, _by_workers(space, *hands)
        else:
            count = placement.num_devices()
            train = trainer(dataset, space, settings, seed=run.seed, count=count)
            train([numbers[0]] * count, [0] * count)  # compiles
        _fill(phase, train, count, numbers, done, state)
        phase.end(state | {"elapsed": round(phase.seconds, 1)})
    state = {name: np.float32(phase.result[name]) for name in empty}
    place = np.searchsorted(numbers, first)
    return _table(run, space, settings, dataset, state, place)


def build_member(origin: members.Origin, values: dict[str, Any]) -> Callable:
    """Builds what a worker computes: accuracies and seconds of one training.

    Args:
      origin: of data and space.
      values: JSON of the settings.

    Returns:
      workers.Task, whose key is (number, trial) -> f32[budgets * (splits + 1)].
    """
    dataset, space = origin.open()
    settings = settings_lib.from_json(TableSettings, values)
    train = trainer(dataset, space, settings, seed=origin.seed)
    train([0], [0])  # compiles

    def one(task):
        scores, seconds = train(*(np.int64(task.key)[:, None]))
        return np.concatenate([scores[0], seconds[0][:, None]], 1).ravel()

    return one


def _by_workers(space, pool, journal) -> Callable:
    """Builds the trainer whose cells are trained by workers."""

    def train(numbers, trials):
        tasks = [
            workers.Task(
                np.array([number, trial], np.uint32),
                np.asarray(spaces.encoding.from_index(int(number), space.sizes)),
            )
            for number, trial in zip(numbers, trials, strict=True)
        ]
        found = workers.collect(pool, journal, tasks)
        found = found.reshape(len(tasks), -1, len(SPLITS) + 1)
        return found[..., :-1], found[..., -1]

    return train


def _fill(
    phase, train, count: int, numbers: np.ndarray, done: int, state: dict
) -> None:
    """Trains the remaining cells, ``count`` at a time, seed after seed."""
    while done < phase.num_steps:
        stop = min(phase.num_steps, done + max(count, phase.suggest_steps()))
        for begin in range(done, stop, count):
            # the last ones repeat a step where too few are left
            steps = np.minimum(np.arange(begin, begin + count), stop - 1)
            trials, cells = np.divmod(steps, len(numbers))
            scores, seconds = train(numbers[cells], trials)
            state["scores"][trials, cells] = scores
            state["seconds"][trials, cells] = seconds
        done = stop
        seen = state["scores"].reshape(-1, *state["scores"].shape[2:])[:done, -1, 0]
        metrics = {"mean_valid": seen.mean(), "best_valid": seen.max()}
        saved = {name: jnp.asarray(leaf) for name, leaf in state.items()}
        phase.observe(done, saved, metrics)


def _table(run, space, settings, dataset, state, place) -> tables.Table:
    metrics: dict[str, np.ndarray] = {}
    for b, epochs in enumerate(settings.budgets):
        for p, split in enumerate(SPLITS):
            trials = state["scores"][:, place, b, p]
            metrics[f"{split}_{epochs}"] = trials.mean(0)
            for trial, values in enumerate(trials):
                metrics[f"{split}_{epochs}_seed{trial}"] = values
        metrics[f"seconds_{epochs}"] = state["seconds"][:, place, b].min(0)
    metrics["seconds"] = metrics[f"seconds_{settings.epochs}"]
    metrics["parameters"] = _parameters(space, settings, dataset)
    return tables.Table(run.workdir.name, space.sizes, space.gene_names, metrics)


def _a_network(space, settings, dataset) -> networks.Network:
    """Builds the network of the first cell, and refuses what it cannot read."""
    size = setup.network_size(settings, dataset, stem=settings.stem)
    genotype = space.genotype([0] * len(space.sizes))
    one = networks.derived(genotype, size)
    inputs.check_derived(genotype, one, dataset)
    return one


def _parameters(space, settings, dataset) -> np.ndarray:
    """Counts f32[N] parameters of each cell's derived network."""
    size = setup.network_size(settings, dataset, stem=settings.stem)
    if space.supernet not in registry.DERIVED:  # all are the supernet itself
        one = _a_network(space, settings, dataset)
        found = networks.measure(one, dataset.image_shape)["parameters"]
        return np.full(math.prod(space.sizes), found, np.float32)
    costs = networks.option_costs(space, size, dataset.image_shape)["parameters"]
    rows = np.indices(space.sizes, np.int32).reshape(len(space.sizes), -1).T
    count = jax.jit(jax.vmap(lambda encoding: costs.of(space.weights(encoding))))
    return np.asarray(count(jnp.asarray(rows)))
