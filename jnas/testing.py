"""Contract checks for what users add: run them on your own operation or space.

Each takes the name of a registered thing and raises AssertionError, naming the rule,
where it breaks its contract.

Example:
  >>> check_operation("sep_conv_3x3")
  >>> check_relaxation("softmax")
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import data, networks, ops, pieces, registry, spaces, types
from jnas.data import batches
from jnas.networks import baselines, functional, rows
from jnas.spaces import genotype_text
from jnas.spaces import rows as space_rows
from jnas.training import program


def _holds(condition: bool, name: str, rule: str) -> None:
    if not condition:
        raise AssertionError(f"{name} must {rule}.")


def check_operation(name: str) -> None:
    """Checks an operation: shapes at both strides, purity, finite gradients.

    Args:
      name: its key in ``registry.OPERATIONS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    for stride in (1, 2):
        op = _operation(name, stride)
        params, stats = op.init(jax.random.key(0))
        _holds(not jax.tree.leaves(stats), name, "keep no statistics in a supernet")
        key = jax.random.key(2)

        def run(params, x, op=op, key=key):
            return op.apply(params, {}, x, key=key)[0]

        x = jax.random.normal(jax.random.key(1), (2, 7, 5, 4))
        y = jax.jit(run)(params, x)
        _holds(_finite(y), name, "give finite values")
        chex.assert_trees_all_close(y, run(params, x), atol=1e-5)
        grads = jax.jit(jax.grad(lambda p, x, run=run: (run(p, x) ** 2).sum(), (0, 1)))(
            params, x
        )
        _holds(_finite(grads), name, "have finite gradients")
        _check_training_norm(name, stride)


def _operation(name: str, stride: int) -> functional.Functional:
    """Builds an operation of the right output shapes, at even and odd sizes."""
    try:
        op = functional.operation(name, 4, stride, norm=ops.SEARCH)
        functional.check_shape(name, op, (2, 7, 5, 4), stride)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    return op


def _check_training_norm(name: str, stride: int) -> None:
    """The derived network trains with statistics and is evaluated one by one."""
    op = functional.operation(name, 4, stride, norm=ops.TRAINING)
    params, stats = op.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 4))
    if op.draws:
        return
    together, _ = op.apply(params, stats, x, train=False)
    alone, _ = op.apply(params, stats, _first_alone(x), train=False)
    _check_alone(name, together, alone)


def _first_alone(x):
    """Keeps the first image, and makes the others zero."""
    return jnp.asarray(np.where(np.arange(len(x))[:, None, None, None] == 0, x, 0))


def _check_alone(name: str, together, alone) -> None:
    """Checks the outputs of the first image beside others, and beside zeros."""
    _holds(
        np.allclose(together[0], alone[0], atol=1e-5),
        name,
        "treat each image by itself in evaluation",
    )


def _finite(tree) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def check_baseline(name: str) -> None:
    """Checks a hand-made network: outputs, statistics, gradients, growth with features.

    Args:
      name: its key in ``registry.BASELINES``.

    Raises:
      AssertionError: it breaks the contract.
    """
    shape = (9, 8, 2)
    counts = [
        baselines.count_of(baselines.Baseline(name, n, 3, shape)) for n in (4, 5, 8)
    ]
    _holds(counts[0] < counts[1] < counts[2], name, "grow with its features")
    network = baselines.Baseline(name, 4, 3, shape).network()
    params, stats = program.once(network.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, *shape))

    @jax.jit
    def train(params, stats, x):
        def loss(params):
            (y, extra), new = network.apply(
                params, stats, x, train=True, key=jax.random.key(2), drop_path_rate=0.5
            )
            return (y**2).sum(), (y, extra, new)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, (y, extra, new)), grads = train(params, stats, x)
    _holds(y.shape == (4, 3), name, "give [B, num_classes]")
    _holds(extra is None, name, "have no auxiliary head")
    _holds(_finite((y, grads)), name, "give finite outputs and gradients")
    _holds(
        jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, stats),
        name,
        "return all of its statistics",
    )
    judge = jax.jit(lambda x: network.apply(params, new, x, train=False))
    (together, _), kept = judge(x)
    (alone, _), _ = judge(_first_alone(x))
    _check_alone(name, together, alone)
    chex.assert_trees_all_equal(kept, new)


def check_relaxation(name: str) -> None:
    """Checks a relaxation: shape, finite weights and gradients, jit, vmap, masking.

    A removed candidate has a logit of -inf; its weight and gradient must be exactly 0.

    Args:
      name: its key in ``registry.RELAXATIONS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    relax = registry.RELAXATIONS[name]
    logits = jax.random.normal(jax.random.key(0), (2, 5, 4))
    keys = jax.random.split(jax.random.key(1), 2)
    for progress in (jnp.float32(0), jnp.float32(1)):
        for given in (logits, _some_out(logits)):
            out = jnp.isneginf(given)
            weights = relax(keys[1], given, progress)
            _holds(weights.shape == logits.shape, name, "keep the logits' shape")
            _holds(_finite(weights), name, "give finite weights")
            _holds(not weights[out].any(), name, "weigh a logit of -inf by exactly 0")
            chex.assert_trees_all_close(
                weights, jax.jit(relax)(keys[1], given, progress), atol=1e-6
            )
            grads = jax.grad(lambda a, p=progress: (relax(keys[1], a, p) ** 2).sum())(
                given
            )
            _holds(_finite(grads), name, "have finite gradients")
            _holds(not grads[out].any(), name, "have gradient 0 at a logit of -inf")
        many = jax.vmap(relax, (0, None, None))(keys, given, progress)
        chex.assert_trees_all_close(many[1], weights, atol=1e-6)


def _some_out(logits):
    """Removes candidates: one of each edge, and all but the last of one edge."""
    return logits.at[..., 1].set(-jnp.inf).at[0, 2, :-1].set(-jnp.inf)


def check_perturbation(name: str) -> None:
    """Checks a perturbation: rows in the simplex, zeros that stay 0, jit, vmap, key.

    Args:
      name: its key in ``registry.PERTURBATIONS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    perturb = registry.PERTURBATIONS[name]
    slope = jax.random.normal(jax.random.key(0), (2, 5, 4))
    weights = jax.nn.softmax(_some_out(jax.random.normal(jax.random.key(1), (2, 5, 4))))
    weights = weights.at[1, 3].set(0)

    def run(key, weights, progress):
        return perturb(key, weights, progress, lambda w: (w * slope).sum())

    keys = jax.random.split(jax.random.key(2), 2)
    for progress in (jnp.float32(0), jnp.float32(1)):
        moved = run(keys[1], weights, progress)
        _holds(moved.shape == weights.shape, name, "keep the weights' shape")
        _holds(_finite(moved), name, "give finite weights")
        _holds(bool(((moved >= 0) & (moved <= 1)).all()), name, "stay in [0, 1]")
        _holds(not moved[weights == 0].any(), name, "keep weights of exactly 0")
        chex.assert_trees_all_close(moved.sum(-1), weights.sum(-1), atol=1e-6)
        _holds(bool((moved != weights).any()), name, "move some weights")
        chex.assert_trees_all_close(
            moved, jax.jit(run)(keys[1], weights, progress), atol=1e-6
        )
        many = jax.vmap(run, (0, None, None))(keys, weights, progress)
        chex.assert_trees_all_close(many[1], moved, atol=1e-6)


def check_optimizer(name: str) -> None:
    """Checks an optimiser: descent, a schedule, traced numbers, finite updates.

    Each number of its own may be a traced f32[], as where trials of a tuning run side
    by side; booleans, and numbers that are None, stay as they are.

    Args:
      name: its key in ``registry.OPTIMIZERS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    build = registry.OPTIMIZERS[name]
    start = {"w": jnp.array([1.0, -2.0, 3.0]), "b": jnp.ones((2, 2))}

    def loss(params):
        return sum((x**2).sum() for x in jax.tree.leaves(params))

    def descend(learning_rate, **own):
        tx = build(learning_rate, **own)

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        return jax.lax.scan(step, (start, tx.init(start)), length=5)[0][0]

    moved = jax.jit(descend)(0.01)
    _holds(_finite(moved), name, "give finite parameters")
    _holds(bool(loss(moved) < loss(start)), name, "lower a quadratic loss")
    for old, new in zip(*map(jax.tree.leaves, (start, moved)), strict=True):
        _holds(bool((old != new).all()), name, "move every parameter")
    chex.assert_trees_all_close(moved, descend(lambda step: 0.01), atol=1e-6)
    still = descend(lambda step: 0.0 * step)
    chex.assert_trees_all_close(still, start, atol=1e-6)
    numbers = {
        option: jnp.float32(value)
        for option, value in pieces.options(build).items()
        if isinstance(value, float)
    }
    try:
        traced = jax.jit(descend)(jnp.float32(0.01), **numbers)
    except jax.errors.ConcretizationTypeError as error:
        raise AssertionError(f"{name} must take traced numbers.") from error
    chex.assert_trees_all_close(traced, moved, rtol=1e-4, atol=1e-5)


def check_regularizer(name: str) -> None:
    """Checks a regularizer: f32[], finite with its gradients, jit, removed candidates.

    It must depend on the logits at progress 0, 1/2 or 1, so that its factor may rise
    from 0 over the search, or fall to 0. It gets the space ``tiny``, a loss of 2 and
    the costs of a small network, if it takes them.

    Args:
      name: its key in ``registry.REGULARIZERS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    names = ("logits", "weights", "progress", "space", "loss", "costs")
    penalty = pieces.taking(registry.REGULARIZERS[name], names, least=3)
    space = spaces.zoo.tiny()
    costs = networks.option_costs(space, rows.smallest(space), (8, 8, 3))
    logits = jax.random.normal(jax.random.key(0), space.shape)

    def run(logits, progress):
        weights = jax.nn.sigmoid(logits)
        return penalty(logits, weights, progress, space, jnp.float32(2), costs)

    for given in (logits, _some_out(logits)):
        out, depends = jnp.isneginf(given), False
        for progress in map(jnp.float32, (0, 0.5, 1)):
            value, grads = jax.value_and_grad(run)(given, progress)
            _holds(value.shape == (), name, "give f32[]")
            _holds(_finite((value, grads)), name, "be finite with its gradients")
            _holds(not grads[out].any(), name, "have gradient 0 at a logit of -inf")
            depends |= bool(grads.any())
            chex.assert_trees_all_close(
                value, jax.jit(run)(given, progress), rtol=1e-5, atol=1e-6
            )
        _holds(depends, name, "depend on the logits at progress 0, 1/2 or 1")


def check_selection(name: str) -> None:
    """Checks a selection: valid cells for any weights, under jit and vmap.

    In a space whose nodes choose their inputs and in one whose nodes do not.

    Args:
      name: its key in ``registry.SELECTIONS``.

    Raises:
      AssertionError: it breaks the contract.
    """
    select = registry.SELECTIONS[name]
    for space in (spaces.zoo.darts(), spaces.zoo.nasbench201()):
        logits = jax.random.normal(jax.random.key(0), (3, *space.shape))
        many = jax.nn.softmax(logits, -1).at[1].set(0.0).at[2, :, 0].set(0.0)
        found = jax.jit(jax.vmap(lambda w, s=space: select(s, w)))(many)
        sizes = jnp.array(space.sizes)
        _holds(found.shape == (3, len(sizes)), name, "give one value for each gene")
        _holds(bool(((found >= 0) & (found < sizes)).all()), name, "give valid genes")
        for weights, encoding in zip(many, found, strict=True):
            chex.assert_trees_all_equal(select(space, weights), encoding)


def check_controller(name: str, sizes: tuple[int, ...] = (3, 1, 4)) -> None:
    """Checks a controller: valid proposals, pure, jittable, scannable, vmappable.

    Args:
      name: its key in ``registry.CONTROLLERS``.
      sizes: number of values of each gene.

    Raises:
      AssertionError: it breaks the contract.
    """
    controller = registry.CONTROLLERS[name](sizes)

    def run(key):
        def one_round(state, key):
            encodings = controller.ask(key, state)
            scores = jnp.where(encodings[:, :2] == 0, jnp.nan, 1.0)
            return controller.tell(state, encodings, scores), encodings

        return jax.lax.scan(one_round, controller.init(key), jax.random.split(key, 5))[
            1
        ]

    kinds = jax.tree.map(_kind, jax.eval_shape(controller.init, jax.random.key(0)))
    told = jax.eval_shape(
        lambda key: controller.tell(
            controller.init(key),
            controller.ask(key, controller.init(key)),
            jnp.zeros((len(controller.ask(key, controller.init(key))), 2)),
        ),
        jax.random.key(0),
    )
    _holds(
        kinds == jax.tree.map(_kind, told), name, "keep shapes and dtypes of its state"
    )
    keys = jax.random.split(jax.random.key(0), 2)
    asked = jax.jit(jax.vmap(run))(keys)
    _holds(asked.shape[-1] == len(sizes), name, "propose i32[P, G]")
    _holds(
        bool(((asked >= 0) & (asked < jnp.array(sizes))).all()),
        name,
        "propose values inside sizes",
    )
    chex.assert_trees_all_equal(asked[1], run(keys[1]))


def _kind(leaf) -> tuple:
    """What a compiled loop and a checkpoint need to stay the same."""
    return leaf.shape, str(leaf.dtype), leaf.weak_type


def check_space(name: str, *, image_shape: Any = rows.SHAPE) -> None:
    """Checks a space: every encoding comes back from its genotype, every row counts.

    Weights must be one-hot rows, or rows of zeros, of as many options as ``choices``
    names, the same under jit and vmap, and lead back to their encoding; genotypes must
    survive their file. The outputs of its smallest supernet must have a gradient with
    respect to each row of the weights, except rows of ``none`` alone.

    Args:
      name: its key in ``registry.SPACES``.
      image_shape: rows, columns and channels of the images that its supernet reads; or
        the shape of another input, or a dict of shapes.

    Raises:
      AssertionError: it breaks the contract.
    """
    space = registry.SPACES[name]()
    _holds(len(space.sizes) == len(space.gene_names), name, "name every gene")
    _check_weights(name, space)
    for seed in range(8):
        drawn = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        genotype = space.genotype(drawn)
        back = space.encode(genotype)
        _holds(bool((np.asarray(drawn) == back).all()), name, "encode its genotypes")
        read = genotype_text.from_json(genotype_text.to_json(genotype))
        _holds(read == genotype, name, "read its genotypes from their files")
        found = space.strongest(space.weights(drawn))
        _holds(bool((found == drawn).all()), name, "find one-hot weights the strongest")
    _check_rows(name, space, image_shape)


def _check_weights(name: str, space: spaces.Space) -> None:
    """Checks the form of one-hot weights, and their options' names."""
    like = space_rows.shapes(space)
    leaves = [like] if hasattr(like, "shape") else getattr(like, "values", tuple)()
    arrays = bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)
    _holds(arrays, name, "have weights that are one array, or a dict of arrays")
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = jnp.stack([spaces.encoding.sample(key, space.sizes) for key in keys])
    many = jax.jit(jax.vmap(space.weights))(drawn)
    for i, encoding in enumerate(drawn):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], many)
        chex.assert_trees_all_equal(own, space.weights(encoding))
        for leaf in jax.tree.leaves(own):
            one_hot = np.isin(leaf, (0, 1)).all() and (leaf.sum(-1) <= 1).all()
            _holds(bool(one_hot), name, "give one-hot rows, or rows of zeros")
    try:
        named = space_rows.rows(space)
    except (ValueError, IndexError, TypeError) as error:
        raise AssertionError(f"{name} must have choices like weights: {error}") from (
            error
        )
    counts = [
        leaf.shape[-1]
        for leaf in jax.tree.leaves(space_rows.shapes(space))
        for _ in np.ndindex(leaf.shape[:-1])
    ]
    own = [len(row.options) for row in named]
    _holds(own == counts, name, f"name each option of a row, got {own} for {counts}")


def _check_rows(name: str, space: spaces.Space, image_shape: Any) -> None:
    """Checks that the supernet's outputs have a gradient at each row of the weights."""
    try:
        gradients = rows.row_gradients(space, image_shape)
        grads = jax.tree.map(np.asarray, program.once(gradients)(jax.random.key(0)))
    except ValueError as error:
        raise AssertionError(str(error)) from error
    _holds(_finite(grads), name, "have finite gradients")
    table = space_rows.flat(space, grads)
    is_none = space_rows.flat(space, space_rows.where(space, spaces.NONE))
    idle = (table == 0).all(-1) & ~is_none.all(-1)
    named = zip(space_rows.rows(space), idle, strict=True)
    names = [f"{row.group}/{row.name}" for row, is_idle in named if is_idle]
    rule = "have a gradient at every row of its weights, got none at "
    _holds(not names, name, rule + ", ".join(names))


def check_supernet(
    name: str,
    space: str,
    *,
    tolerance: float = 1e-4,
    image_shape: Any = rows.SHAPE,
) -> None:
    """Checks a supernet: outputs, jit, vmap over weights, and its derived networks.

    Every row of its weights must have a gradient (``check_space``). The networks of one
    genotype, derived and switched, must give outputs of its shape, finite; where their
    parameters are found in the supernet, by name and shape, they must give what it
    gives at one-hot weights.

    Args:
      name: its key in ``registry.SUPERNETS``.
      space: key in ``registry.SPACES`` of a space that names it.
      tolerance: largest difference between jit, vmap and eager, relative to outputs.
      image_shape: as for ``check_space``.

    Raises:
      AssertionError: it breaks the contract.
    """
    made = registry.SPACES[space]()
    _holds(made.supernet == name, space, f"name the supernet {name}")
    size = rows.smallest(made, image_shape)
    net, x = networks.supernet(made, size), rows.images(jax.random.key(1), image_shape)
    params = program.once(net.init)(jax.random.key(0))
    weights = rows.random_weights(jax.random.key(2), made)

    def run(params, weights):
        return net.apply(params, x, weights, key=jax.random.key(3))

    outputs = jax.jit(run)(params, weights)
    _holds(
        outputs.shape == (rows.BATCH, size.num_classes), name, "give [B, num_classes]"
    )
    _holds(_finite(outputs), name, "give finite outputs")
    close = {"rtol": tolerance, "atol": tolerance}
    chex.assert_trees_all_close(outputs, run(params, weights), **close)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[..., ::-1]]), weights)
    many = jax.jit(jax.vmap(run, (None, 0)))(params, both)
    chex.assert_trees_all_close(many[0], outputs, **close)
    _check_rows(space, made, image_shape)
    encoding = spaces.encoding.sample(jax.random.key(4), made.sizes)
    one_hot = made.weights(encoding)
    network = networks.switched(made, size)(one_hot)
    derived = networks.derived(made.genotype(encoding), size)
    wanted = jax.jit(run)(params, one_hot)
    for built in (network, derived):
        own, stats = program.once(built.init)(jax.random.key(0))
        same = _found_in(params, own)
        (found, _), _ = jax.jit(
            lambda p, s, built=built: built.apply(
                p, s, x, train=True, key=jax.random.key(3)
            )
        )(own if same is None else same, stats)
        _holds(found.shape == outputs.shape, name, "derive networks of its outputs")
        _holds(_finite(found), name, "derive networks of finite outputs")
        if same is not None:
            equal = np.allclose(found, wanted, **close)
            _holds(equal, name, "equal its derived networks at one-hot weights")


def _found_in(params: types.Params, own: types.Params) -> types.Params | None:
    """Returns a network's parameters from a supernet's of the same names.

    None where one is missing or has another shape: then there is nothing to compare.
    """
    known = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    named, treedef = jax.tree_util.tree_flatten_with_path(own)
    found = [known.get(jax.tree_util.keystr(path)) for path, _ in named]
    for one, (_, leaf) in zip(found, named, strict=True):
        if one is None or one.shape != leaf.shape:
            return None
    return jax.tree.unflatten(treedef, found)


def check_dataset(name: str) -> None:
    """Checks a data set: it loads, which validates it, and twice the same.

    Args:
      name: what ``data.load`` takes.

    Raises:
      AssertionError: it breaks the contract.
    """
    first, second = data.load(name), data.load(name)
    _holds(first.digest == second.digest, name, "be the same each time")
    axes = {data.IMAGES: 4, data.SERIES: 3, data.VECTORS: 2}.get(first.inputs)
    ok = isinstance(first.x_train, dict) if axes is None else first.x_train.ndim == axes
    _holds(ok, name, f"hold {first.inputs}")


def check_task(
    name: str, dataset: str, *, num_examples: int = 32, inputs: str | None = None
) -> None:
    """Checks a task: shapes, one example at a time, and a signal that rises.

    The loss must have finite gradients and depend on no other example, and 200 steps
    down it, of free outputs, must raise the signal.

    Args:
      name: key in ``registry.TASKS``.
      dataset: what ``data.load`` takes, with targets that fit.
      num_examples: of them, that are read.
      inputs: as for ``data.load``.

    Raises:
      AssertionError: it breaks the contract.
      ValueError: its loss mixes examples, or cannot be computed.
    """
    task, y = _task_of(name, dataset, num_examples, inputs)
    outputs = jax.random.normal(jax.random.key(0), (num_examples, task.num_outputs))
    losses = task.loss(outputs, y)
    _holds(losses.shape == (num_examples,), name, "have a loss f32[B]")
    _holds(bool(jnp.isfinite(losses).all()), name, "have a finite loss")
    np.testing.assert_allclose(jax.jit(task.loss)(outputs, y), losses, 1e-4, 1e-5)
    half = batches.rows_of(y, slice(num_examples // 2))
    alone = task.loss(outputs[: num_examples // 2], half)
    same = np.allclose(alone, losses[: num_examples // 2], 1e-4, 1e-5)
    _holds(same, name, "have a loss of each example by itself")
    slopes = jax.grad(lambda o: task.loss(o, y).mean())(outputs)
    _holds(bool(jnp.isfinite(slopes).all()), name, "have finite gradients")
    _holds(bool((slopes != 0).any()), name, "have gradients")
    for metric in map(task.metric, task.metrics):
        each = metric.each(outputs, y)
        own = metric.each(outputs[: num_examples // 2], half)
        parts = batches.rows_of(each, slice(num_examples // 2))
        same = jax.tree.all(jax.tree.map(np.allclose, own, parts))
        _holds(same, name, "have metrics whose first part is of each example by itself")
        value = metric.over(each)
        _holds(jnp.shape(value) == (), name, "have metrics f32[]")
        _holds(bool(jnp.isfinite(value)), name, "have finite metrics")
        if metric.batch:
            value = metric.batch(each)
            finite = jnp.shape(value) == () and bool(jnp.isfinite(value))
            _holds(finite, name, "have finite metrics f32[] of a batch")
    learned = _descended(task, outputs, y)
    rises = task.score(learned, y) > task.score(outputs, y)
    _holds(bool(rises), name, "have a signal that rises as the loss falls")
    for answer in (task.answer(outputs) if task.answer else {}).values():
        _holds(len(answer) == num_examples, name, "answer each example")


def _task_of(name, dataset, num_examples, inputs) -> tuple:
    found = data.load(dataset, task=name, inputs=inputs)
    return found.task, batches.rows_of(found.y_train, slice(num_examples))


def _descended(task, outputs, y) -> jax.Array:
    """Returns outputs after 200 steps of Adam down a task's loss."""
    optimizer = optax.adam(0.05)

    def step(_, carry):
        outputs, state = carry
        slopes = jax.grad(lambda o: task.loss(o, y).mean())(outputs)
        updates, state = optimizer.update(slopes, state)
        return outputs + updates, state

    return jax.lax.fori_loop(0, 200, step, (outputs, optimizer.init(outputs)))[0]


def check_objective(
    objective: types.Objective,
    sizes: tuple[int, ...],
    sample: Callable = spaces.encoding.sample,
) -> None:
    """Checks an objective: scores f32[P, M], named columns, the same for the same key.

    Args:
      objective: (key, encodings i32[P, G]) -> f32[P, M].
      sizes: number of values of each gene.
      sample: (key, sizes) -> encoding.

    Raises:
      AssertionError: it breaks the contract.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    encodings = jnp.stack([sample(key, sizes) for key in keys])
    scores = objective(keys[0], encodings)
    _holds(scores.ndim == 2 and len(scores) == 3, "objective", "give f32[P, M]")
    named = len(getattr(objective, "metrics", scores[0]))
    _holds(named == scores.shape[1], "objective", "name each of its columns in metrics")
    again = objective(keys[0], encodings)
    chex.assert_trees_all_close(scores, again)
