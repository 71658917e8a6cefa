"""Chooses the architecture after the supernet's training: paths proposed and scored.

A path is one architecture of the space, computed with the parameters that all share.
Any registered controller proposes paths.

Source: Li and Talwalkar 2019, arXiv:1902.07638 (random search with weight sharing);
Guo et al. 2020, arXiv:1904.00420 (single path one-shot).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, pieces, registry, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import signal as signal_lib


class Best(NamedTuple):
    """The path that a hook chose.

    Attributes:
      done: bool[], whether one is chosen.
      encoding: i32[G].
      score: f32[], higher is better; -inf before.
    """

    done: types.Array
    encoding: types.Encoding
    score: types.Array


class Proposals(NamedTuple):
    """Paths of one search and their scores.

    Attributes:
      encodings: i32[N, G].
      scores: f32[N]; -inf where a path is not allowed or its score is not finite.
    """

    encodings: types.Array
    scores: types.Array

    def top(self, count: int) -> types.Array:
        """Returns the encodings i32[K, G] of the best, K at most N."""
        return self.encodings[jax.lax.top_k(self.scores, count)[1]]


def no_path(search: hook_lib.Search) -> Best:
    """Returns the carry before a path is chosen.

    Args:
      search: whose space has the paths.
    """
    genes = jnp.zeros(len(search.space.sizes), jnp.int32)
    return Best(jnp.zeros((), bool), genes, jnp.float32(-jnp.inf))


def found(carry: Best) -> tuple[types.Array, types.Encoding]:
    """Returns what ``Hook.found`` returns of a carry.

    Args:
      carry: of a hook that chooses a path.
    """
    return carry.done, carry.encoding


def best_of(proposals: Proposals) -> Best:
    """Returns the best of some paths; none is chosen where all have -inf.

    Args:
      proposals: at least one.
    """
    place = proposals.scores.argmax()
    score = proposals.scores[place]
    encoding = proposals.encodings[place].astype(jnp.int32)
    return Best(jnp.isfinite(score), encoding, score)


def mean_of(proposals: Proposals) -> types.Array:
    """Returns the mean score f32[] of the paths that are allowed; NaN without any.

    Args:
      proposals: at least one.
    """
    return jnp.mean(proposals.scores, where=jnp.isfinite(proposals.scores))


def controller_of(
    search: hook_lib.Search, controller: pieces.Piece, **numbers: float | int | None
) -> types.Controller:
    """Builds a registered controller of one objective for a search's space.

    Args:
      search: whose space has the genes.
      controller: registered name, or a function of sizes.
      **numbers: of the controller; None leaves its own.

    Raises:
      KeyError: a controller that is not registered; the nearest is guessed.
      ValueError: a number that the controller does not have.
    """
    build = pieces.resolve(registry.CONTROLLERS, controller)
    known = pieces.options(build)
    given = {name: v for name, v in numbers.items() if v is not None}
    for name, value in given.items():
        if name not in known:
            called = pieces.name_of(registry.CONTROLLERS, controller)
            raise ValueError(
                f"{name} must be left out with controller {called}, which has no such "
                f"option, got {value}. Its options: {', '.join(known) or 'none'}."
            )
    if "num_objectives" in known:
        given["num_objectives"] = 1
    return build(search.space.sizes, **given)


def propose(
    key: types.Key,
    controller: types.Controller,
    score: Callable[[types.Encoding], types.Array],
    num_evaluations: int,
) -> Proposals:
    """Lets a controller search: it proposes, paths are scored, it is told the scores.

    Args:
      key: consumed.
      controller: proposes P paths a round.
      score: encoding i32[G] -> f32[]; called for one path at a time, so that a supernet
        may skip options of weight zero.
      num_evaluations: N; rounded up to whole rounds.

    Returns:
      All N paths.
    """
    init_key, rounds_key = jax.random.split(key)
    state = controller.init(init_key)
    each = len(jax.eval_shape(controller.ask, init_key, state))

    def one_round(state, ask_key):
        encodings = controller.ask(ask_key, state)
        scores = jax.lax.map(score, encodings)
        scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
        state = controller.tell(state, encodings, scores[:, None])
        return state, Proposals(encodings, scores)

    keys = jax.random.split(rounds_key, -(-num_evaluations // each))
    _, rounds = jax.lax.scan(one_round, state, keys)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rounds)


def allowed(search: hook_lib.Search, mask: Any, weights: types.Weights) -> types.Array:
    """Returns bool[], whether a path has no removed option and keeps the limits.

    Args:
      search: has the limits.
      mask: of the state; None removes nothing.
      weights: of the path.
    """
    fits = [one.violation(weights) <= 0 for one in search.limits]
    if mask is not None:
        kept = jax.tree.map(lambda w, m: (m | (w == 0)).all(), weights, mask)
        fits += jax.tree.leaves(kept)
    return jnp.stack(fits).all() if fits else jnp.ones((), bool)


def path_signal(
    key: types.Key,
    search: hook_lib.Search,
    apply: Callable,
    batches: types.Batch,
    weights: types.Weights,
    inputs: networks.VariantInputs,
) -> types.Array:
    """Computes the signal of one path with the shared parameters, f32[].

    The only place that says by which statistics a path is normalised: those of the
    scored batches, as supernets keep none.

    Args:
      key: of operations that draw at random.
      search: has the task.
      apply: (images, weights, *, key, variant_inputs) -> outputs.
      batches: as ``signal.fixed_batches`` returns them.
      weights: one-hot rows.
      inputs: what the edge variant needs.
    """
    return signal_lib.signal(key, search.task, apply, batches, weights, inputs)


@registry.HOOKS.register
def score_paths(
    search: hook_lib.Search,
    *,
    controller: pieces.Piece = "random_search",
    num_evaluations: int = 1000,
    num_batches: int | None = None,
    num_finalists: int = 0,
    num_rounds: int = 1,
    population_size: int | None = None,
    mutation_rate: float | None = None,
    crossover_rate: float | None = None,
) -> hook_lib.Hook:
    """Builds the hook that chooses the path of the best signal after the last epoch.

    A controller proposes paths, which are scored on validation batches. With finalists
    the best of each round are scored again, on the whole validation split, and the
    best finalist is chosen.

    Args:
      search: whose supernet is trained.
      controller: that proposes paths.
      num_evaluations: paths that are scored in a round.
      num_batches: batches of the validation split that they are scored on, the same for
        all; None is all whole batches.
      num_finalists: paths of a round that are scored again; 0 is none.
      num_rounds: searches of their own, of which the best path is chosen.
      population_size: of the controller; None leaves its own.
      mutation_rate: likewise.
      crossover_rate: likewise.

    Returns:
      The hook; ``best_path_SIGNAL`` is the score of the chosen path,
      ``mean_path_SIGNAL`` the mean of all proposed ones.

    Raises:
      ValueError: a count below 1, more finalists than evaluations, or a number that the
        controller does not have.

    Source: arXiv:1902.07638, section 3.2, and arXiv:1904.00420, section 3.4, and their
    released code. Differs: paths are normalised by the scored batch; in SPOS' code by
    training images that are computed for each path, in the other one by running
    statistics of all paths. There each path is scored on batches of its own.
    """
    _check(num_evaluations, num_batches, num_finalists, num_rounds)
    space = search.space
    numbers = {"population_size": population_size, "mutation_rate": mutation_rate}
    made = controller_of(search, controller, **numbers, crossover_rate=crossover_rate)
    best_name, mean_name = (f"{n}_path_{search.task.signal}" for n in ("best", "mean"))

    def call(key, clock, state, carry, split):
        draw_key, own = jax.random.split(key)
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        apply = functools.partial(search.supernet.apply, state.params)

        def scored(count):
            batches = signal_lib.fixed_batches(
                split, search.augment, search.batch_size, count
            )

            def score(encoding):
                weights = space.weights(encoding)
                value = path_signal(own, search, apply, batches, weights, inputs)
                return jnp.where(allowed(search, state.mask, weights), value, -jnp.inf)

            return score

        def one(key):
            proposals = propose(key, made, scored(num_batches), num_evaluations)
            if not num_finalists:
                return best_of(proposals), mean_of(proposals)
            finalists = proposals.top(num_finalists)
            scores = jax.lax.map(scored(None), finalists)
            return best_of(Proposals(finalists, scores)), mean_of(proposals)

        rounds, means = jax.lax.map(one, jax.random.split(draw_key, num_rounds))
        best = best_of(Proposals(rounds.encoding, rounds.score))
        values = {best_name: best.score, mean_name: jnp.nanmean(means)}
        return state, best, values, False

    rows = functools.partial(
        signal_lib.fixed_rows, batch_size=search.batch_size, num_batches=num_batches
    )
    return hook_lib.Hook(
        search.num_epochs,
        lambda state: no_path(search),
        call,
        (best_name, mean_name),
        rows=np.arange if num_finalists or num_batches is None else rows,
        found=found,
    )


def _check(num_evaluations, num_batches, num_finalists, num_rounds) -> None:
    """Refuses counts that leave nothing to choose from."""
    given = {"num_evaluations": num_evaluations, "num_rounds": num_rounds}
    given["num_batches"] = 1 if num_batches is None else num_batches
    for name, value in given.items():
        if value < 1:
            raise ValueError(
                f"score_paths must have {name} at least 1, got {value}. Raise it."
            )
    if not 0 <= num_finalists <= num_evaluations:
        raise ValueError(
            "score_paths must have num_finalists from 0 to num_evaluations, got "
            f"{num_finalists} of {num_evaluations}. Lower it."
        )
