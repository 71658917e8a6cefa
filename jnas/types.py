"""The glossary: one name for each type that the modules of jnas exchange.

Shape letters: C cells, E edges, O options of a row, G genes, P proposals, N population,
M metrics, S seeds, B batch, H and W image rows and columns, F features.

An architecture is a set of rows, one a decision. Logits and weights are pytrees whose
leaves f32[..., O] end in an axis of options; the other axes are equal decisions. A
space of cells has one leaf f32[C, E, O], an array by itself.

Scores: higher is better. Losses: lower is better. ``progress`` runs from 0 to 1 over
a search.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
Key = jax.Array  # made by jax.random.key; a function that takes one consumes it

Logits = Any  # leaves f32[..., O]: the architecture parameters, updated by gradients
Weights = Any  # leaves f32[..., O]: mixing weights; one-hot rows are one architecture
Mask = Any  # leaves bool[..., O]: False for removed options
Encoding = Array  # i32[G]: gene g in [0, sizes[g]), every value valid
Scores = Array  # f32[P, M]: higher is better
Params = Any  # a pytree of arrays
# images f32[B, H, W, F], labels i32[B]; or other inputs and targets, arrays or trees
Batch = tuple[Any, Any]


class Whole(tuple):
    """Shape of an input of integers, such as tokens, which is not normalised."""


class ArchParams(NamedTuple):
    """Architecture parameters of a method that weighs edges as well as operations.

    Attributes:
      operations: f32[C, E, O], the logits of the operations.
      edges: f32[C, E], the logits of the edges; softmax over the edges into a node.
    """

    operations: Logits
    edges: Array


class Operation(Protocol):
    """Builds one candidate operation: ``op(features, stride, *, norm, rngs)``.

    The result is an ``nnx.Module`` that maps f32[B, H, W, F] to
    f32[B, ceil(H / stride), ceil(W / stride), F]. ``norm(features, rngs=rngs)`` builds
    the network's normalisation layer. An attribute ``family`` of the function names
    the operations that differ from it in the size of their kernels alone
    (``ops.family``).
    """

    def __call__(self, features: int, stride: int, *, norm: Callable, rngs: Any) -> Any:
        """Builds the candidate for one edge."""


class Relaxation(Protocol):
    """Turns the logits of one leaf into mixing weights of the same shape."""

    def __call__(self, key: Key, logits: Array, progress: Array) -> Array:
        """Returns weights f32[..., O]; a row is the last axis."""


class Perturbation(Protocol):
    """Perturbs the mixing weights for an update of the network's parameters."""

    def __call__(
        self,
        key: Key,
        weights: Weights,
        progress: Array,
        loss: Callable[[Weights], Array],
    ) -> Weights:
        """Returns weights of the space; ``loss`` maps such weights to f32[]."""


class Loss(Protocol):
    """A loss of the bilevel problem; also returns metrics to report."""

    def __call__(
        self, key: Key, params: Params, logits: Params, batch: Any
    ) -> tuple[Array, Any]:
        """Returns (loss f32[], metrics)."""


class Hypergradient(Protocol):
    """Builds the architecture gradient from the two losses and the inner optimiser."""

    def __call__(self, train_loss: Loss, valid_loss: Loss, optimizer: Any) -> Callable:
        """Returns fn(key, params, opt_state, logits, train, valid).

        fn returns ((loss f32[], metrics), d_logits).
        """


class Regularizer(Protocol):
    """A penalty on the architecture, added to its loss.

    A function of the first three arguments, or of more, is one too.
    """

    def __call__(
        self,
        logits: Logits,
        weights: Weights,
        progress: Array,
        space: Any,
        loss: Array,
        costs: Any,
    ) -> Array:
        """Returns f32[]; the space names the rows and options of the weights."""


class Alternation(Protocol):
    """Decides which steps of a gradient search move the logits."""

    def __call__(self, clock: Any) -> Array:
        """Maps a Clock (epoch, progress, step) to bool[]."""


class Progress(Protocol):
    """Says how far the schedules of a search's pieces are: from 0 to 1."""

    def __call__(self, clock: Any, num_epochs: int) -> Array:
        """Maps a Clock (epoch, progress, step) to f32[]."""


class WeightRegularizer(NamedTuple):
    """Acts on the gradient of a supernet's parameters in every step.

    Attributes:
      init: (params, logits) -> carry, before the first step.
      call: (key, Clock, params, logits, grads, train batch, validation batch, carry) ->
        (grads, moves, carry). grads are those of the training loss at params and the
        logits of this step; moves is bool arrays that broadcast against the params,
        False where a parameter stays as it is whatever the optimizer says, or None
        where all move.
    """

    init: Callable[[Params, Params], Any]
    call: Callable[..., tuple[Params, Any, Any]]


class Selection(Protocol):
    """Derives an architecture at the end of a gradient search."""

    def __call__(self, space: Any, weights: Weights) -> Encoding:
        """Maps final weights in a space to an encoding i32[G]."""


class Objective(Protocol):
    """Scores proposals, higher is better; a NaN counts as minus infinity.

    An attribute ``metrics``, a ``directions.Metric`` a column, names the columns; one
    that is to be minimised holds the negated metric. An attribute ``jittable`` of False
    says that it cannot be compiled.
    """

    def __call__(self, key: Key, encodings: Array) -> Scores:
        """Maps encodings i32[P, G] to scores f32[P, M]."""


class Controller(NamedTuple):
    """A discrete search method as three pure functions.

    Attributes:
      init: key -> state.
      ask: (key, state) -> encodings i32[P, G].
      tell: (state, encodings i32[P, G], scores f32[P, M]) -> state.
    """

    init: Callable[[Key], Any]
    ask: Callable[[Key, Any], Array]
    tell: Callable[[Any, Array, Scores], Any]


class Bilevel(NamedTuple):
    """A bilevel optimiser as two pure functions.

    Attributes:
      init: (params, logits) -> state.
      step: (key, state, train_batch, valid_batch, *, frozen=None, adjust=None) ->
        (state, info). Where ``frozen`` bool[], which may be traced, is true, the logits
        and the state of their optimiser do not change; None means that they always
        change. ``adjust`` is (params, logits, grads) -> (grads, moves, carry), as in
        WeightRegularizer; None leaves the gradient of the params as it is.
    """

    init: Callable[[Params, Params], Any]
    step: Callable[..., tuple[Any, Any]]
