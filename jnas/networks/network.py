"""Networks as pure functions, and how a space's are found: by the name of its supernet.

A space names its supernet, ``space.supernet``: a key in ``registry.SUPERNETS``. Under
the same key ``registry.DERIVED`` may hold the network of one genotype, and
``registry.SWITCHED`` the network of any one architecture, chosen at run time. Without
them both are the supernet itself at one-hot weights.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import ops, registry, spaces, types
from jnas.networks import mixture
from jnas.networks.inside import Inside
from jnas.networks.skeleton import Size as Size
from jnas.spaces import genotype_choices
from jnas.spaces import rows as rows_lib

# what an option may be where a builder lacks it: nothing but time is lost by the last
_OFF = (
    None,
    False,
    jnp.float32,
    jnp.dtype("float32"),
    mixture.PLAIN,
    mixture.EdgeVariant(skip_zeros=True),
)


class Supernet(NamedTuple):
    """A supernet as pure functions.

    Attributes:
      init: key -> params.
      apply: (params, x f32[B, H, W, channels], weights, *, key=None,
        variant_inputs=NOTHING) -> outputs f32[B, num_classes]; weights are those of the
        space. It normalises by the batch alone, in training and in evaluation. key is
        needed only by random candidates and dropout, variant_inputs by the edge
        variants that take any; a function may have neither.
      space: that it computes.
      layers: (name, count, mixture) of each stage of cells, for inheriting.
      inside: what methods that look inside need; None where they are refused.
      split: number of the row whose options have parameters of their own, see
        ``networks/few_shot.py``; None where all share them.
      calibrated: number of images -> the network of the same parameters whose norms
        take the statistics of that many first images of a batch; see
        ``networks.recalibrated``. None where a builder has not set it.
    """

    init: Callable
    apply: Callable
    space: spaces.Space
    layers: tuple = ()
    inside: Inside | None = None
    split: int | None = None
    calibrated: Callable | None = None


class Network(NamedTuple):
    """The network of one genotype as pure functions.

    Attributes:
      init: key -> (params, stats); stats are the running statistics.
      apply: (params, stats, x f32[B, H, W, channels], *, train, key=None,
        drop_path_rate=None) -> ((outputs, auxiliary), stats), outputs f32[B,
        num_classes]; auxiliary likewise in training, None otherwise or without the
        auxiliary head.
    """

    init: Callable
    apply: Callable


def supernet(space: spaces.Space, size: Size, **options: Any) -> Supernet:
    """Builds the network that computes every option of every row.

    Args:
      space: it names the network, in ``registry.SUPERNETS``.
      size: its size.
      **options: of the network's builder; those of cells are ``norm``, ``stem_norm``,
        ``normalise_pools``, ``remat``, ``dtype`` and ``variant``.

    Returns:
      The supernet, a pure function of its parameters.

    Raises:
      KeyError: a supernet that is not registered; the nearest is guessed.
      ValueError: sizes that do not fit, or an option that the builder does not have.
    """
    found = _call(registry.SUPERNETS, space.supernet, (space, size), options)
    return found._replace(
        apply=_taking(found.apply, ("key", "variant_inputs")),
        calibrated=_calibrated(supernet, registry.SUPERNETS, space, size, options),
    )


def derived(genotype: Any, size: Size, **options: Any) -> Network:
    """Builds the network of one genotype, with its own operations only.

    Without a builder of its own it is the supernet at one-hot weights: its parameters
    are those of all options.

    Args:
      genotype: cells, or choices whose space is registered.
      size: its size.
      **options: of the network's builder; those of cells are ``auxiliary``, ``norm``,
        ``stem_norm``, ``normalise_pools``, ``constants``, ``remat`` and ``dtype``.

    Raises:
      GenotypeError: choices of a space that is not registered, or cells whose inputs
        are not certain.
      ValueError: sizes that do not fit, or an option that the builder does not have.
    """
    name = "cells"
    if isinstance(genotype, genotype_choices.Choices):
        space = genotype_choices.space_of(genotype)
        name = space.supernet
        if name not in registry.DERIVED:
            _refuse(name, options, ())
            encoding = space.encode(genotype)
            return _fixed(supernet(space, size), space.weights(encoding))
    return _call(registry.DERIVED, name, (genotype, size), options)


def switched(
    space: spaces.Space, size: Size, **options: Any
) -> Callable[[types.Weights], Network]:
    """Builds the network of any one architecture of a space, chosen at run time.

    ``switched(space, size)(weights)`` computes what ``derived`` computes for the
    genotype of these one-hot weights, but its parameters are those of every option, of
    which the chosen ones alone have a gradient. Weights may be traced.

    Args:
      space: of the architectures.
      size: of the network.
      **options: of the network's builder; those of cells are ``norm``, ``stem_norm``
        and ``normalise_pools``.

    Returns:
      weights -> Network; one init serves all weights.
    """
    name = space.supernet
    if name not in registry.SWITCHED:
        _refuse(name, options, ())
        return functools.partial(_fixed, supernet(space, size))
    return _call(registry.SWITCHED, name, (space, size), options)


def one_shot(
    space: spaces.Space,
    size: Size,
    *,
    norm: ops.Norm = ops.SEARCH,
    stem_norm: ops.Norm = ops.STEM,
    **options: Any,
) -> Supernet:
    """Builds the supernet whose weights are one-hot: it computes the chosen options.

    The same function as ``supernet`` at one-hot weights, with parameters by row and
    option instead of stacked; several times faster where architectures are computed one
    after another.

    Args:
      space: of the architectures.
      size: of the network.
      norm: of the candidates, without statistics; not read where the network is the
        supernet itself.
      stem_norm: of stem, reductions and head; likewise.
      **options: of the network's builder, as for ``switched``.

    Returns:
      The supernet; its ``layers`` are empty, and nothing inherits from it.
    """
    if space.supernet not in registry.SWITCHED:
        _refuse(space.supernet, options, ())
        return supernet(space, size)
    own = {"normalise_pools": None} | options if rows_lib.has_edges(space) else options
    network = switched(space, size, norm=norm, stem_norm=stem_norm, **own)
    empty = rows_lib.full(space, 0)
    _, stats = jax.eval_shape(network(empty).init, jax.random.key(0))

    def apply(params, x, weights, *, key=None, variant_inputs=mixture.NOTHING):
        del variant_inputs  # this network has no edge variants
        outputs, _ = network(weights).apply(params, stats, x, train=True, key=key)
        return outputs[0]

    norms = {"norm": norm, "stem_norm": stem_norm}
    return Supernet(
        lambda key: network(empty).init(key)[0],
        apply,
        space,
        calibrated=_calibrated(
            one_shot, registry.SWITCHED, space, size, options | norms
        ),
    )


def has_auxiliary(genotype: Any) -> bool:
    """Returns whether a genotype's network has a place for an auxiliary head.

    Args:
      genotype: cells, of which those of two inputs have one, or choices.
    """
    if not isinstance(genotype, genotype_choices.Choices):
        return genotype.num_inputs == 2
    name = genotype_choices.space_of(genotype).supernet
    return name in registry.DERIVED and takes(registry.DERIVED[name], "auxiliary")


def takes(registered: Callable, option: str) -> bool:
    """Returns whether a builder has an option.

    Args:
      registered: of ``registry.SUPERNETS``, ``DERIVED`` or ``SWITCHED``.
      option: its name.
    """
    parameters = inspect.signature(registered).parameters.values()
    return any(p.name == option or p.kind is p.VAR_KEYWORD for p in parameters)


def _fixed(net: Supernet, weights: types.Weights) -> Network:
    """Builds the network of a supernet at fixed weights; it keeps no statistics."""

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        del train, drop_path_rate  # it has neither statistics nor drop path
        return (net.apply(params, x, weights, key=key), None), stats

    return Network(lambda key: (net.init(key), {}), apply)


def _calibrated(build, builders, space, size, options) -> Callable:
    """Builds ``Supernet.calibrated``: the same network with calibrated norms."""
    defaults = {"norm": ops.SEARCH, "stem_norm": ops.STEM}

    @functools.cache
    def calibrated(num_images):
        for name in defaults:
            if not takes(builders[space.supernet], name):
                raise ValueError(
                    f"recalibration must have a network that takes {name}, got "
                    f"{space.supernet!r}, whose builder has no such option. Leave "
                    "recalibrate out, or add the option."
                )
        norms = {
            name: dataclasses.replace(options.get(name, norm), calibrated=num_images)
            for name, norm in defaults.items()
        }
        return build(space, size, **options | norms)

    return calibrated


def _call(builders: registry.Registry, name: str, given: tuple, options: dict) -> Any:
    """Calls a builder with the options that it has; the others must be off."""
    build = builders[name]
    own = {option: v for option, v in options.items() if takes(build, option)}
    _refuse(name, options, tuple(own))
    return build(*given, **own)


def _refuse(name: str, options: dict, known: tuple[str, ...]) -> None:
    for option, value in options.items():
        if option not in known and not any(
            value is off or value == off for off in _OFF
        ):
            raise ValueError(
                f"{option} must be left out for the network {name!r}, whose builder "
                f"has no such option, got {value!r:.80}. Leave it out."
            )


def _taking(apply: Callable, names: tuple[str, ...]) -> Callable:
    """Returns apply with these keyword arguments, passing on those that it has."""
    own = [name for name in names if takes(apply, name)]
    if len(own) == len(names):
        return apply

    def taking(params, x, weights, **given):
        chosen = {name: given[name] for name in own if name in given}
        return apply(params, x, weights, **chosen)

    return taking
