"""Pieces of a method: a registered name or a function, and the numbers of its own.

A piece is a function with keyword-only numbers, such as ``gumbel_softmax(key, logits,
progress, *, start=1.0, end=0.03)``. A settings field holds its registered name, the
function itself, or ``functools.partial`` of it. On the command line a number is set by
``--options=relaxation.start=5``.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jnas import registry as registry_lib

Piece = str | Callable
_NUMBERS = (bool, int, float, str)


def resolve(registry: registry_lib.Registry, piece: Piece) -> Callable:
    """Returns the function that a settings field names, or the function it holds.

    Args:
      registry: where names are looked up.
      piece: a registered name, or a function.

    Raises:
      KeyError: a name that is not registered; the nearest is guessed.
    """
    return registry[piece] if isinstance(piece, str) else piece


def name_of(registry: registry_lib.Registry, piece: Piece) -> str:
    """Returns a piece's registered name; a function's own name where it has none.

    Args:
      registry: where it may be registered.
      piece: a registered name, or a function, perhaps partial.
    """
    if isinstance(piece, str):
        return piece
    while isinstance(piece, functools.partial):
        piece = piece.func
    names = [name for name, known in registry.items() if known is piece]
    return names[0] if names else getattr(piece, "__name__", repr(piece))


def options(function: Callable) -> dict[str, Any]:
    """Returns the numbers of a piece: its keyword-only parameters and their values.

    Parameters without a default, and those that only hold arrays, are left out.

    Args:
      function: a piece, perhaps partial.

    Example:
      >>> options(functools.partial(lambda x, *, start=1.0, end=0.03: x, end=0.1))
      {'start': 1.0, 'end': 0.1}
    """
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and _kind(parameter) is not None
    }


def _kind(parameter: inspect.Parameter) -> type | None:
    """The type of an option's values; None where a command line cannot write them."""
    if isinstance(parameter.default, _NUMBERS):
        return type(parameter.default)
    hint = parameter.annotation
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if parameter.default is None:
        return next((one for one in choices if one in _NUMBERS), None)
    return None


def _optional(parameter: inspect.Parameter) -> bool:
    """Whether an option may be None."""
    return type(None) in typing.get_args(parameter.annotation)


def taking(function: Callable, names: tuple[str, ...], *, least: int) -> Callable:
    """Returns a function of all named arguments that passes on those that it takes.

    A protocol can so get a last argument that earlier functions do not have. A
    parameter with a default gets an argument only if it has the argument's name.

    Args:
      function: of the first ``least`` arguments or more, by position.
      names: of all arguments.
      least: number of arguments that every function takes.

    Raises:
      TypeError: it takes fewer or more.

    Example:
      >>> taking(lambda x, y: x + y, ("x", "y", "z"), least=1)(1, 2, 3)
      3
    """
    signature = inspect.signature(function)
    for count in range(len(names), least - 1, -1):
        try:
            bound = signature.bind(*names[:count]).arguments
        except TypeError:
            continue
        # a number with a default that is passed by position is no argument of these
        if all(
            signature.parameters[own].default is inspect.Parameter.empty or own == value
            for own, value in list(bound.items())[least:]
        ):
            return lambda *given, count=count: function(*given[:count])
    while isinstance(function, functools.partial):
        function = function.func
    raise TypeError(
        f"{getattr(function, '__name__', repr(function))} must take "
        f"({', '.join(names)}), got {signature}. Give every other argument a default."
    )


def marked(piece: Callable, mark: str) -> bool:
    """Returns whether a piece has a mark that decides what it can be combined with.

    Args:
      piece: a function, perhaps partial.
      mark: ``on_simplex``, it takes or passes on the gradient of weights;
        ``needs_zeros``, its gradient needs the outputs of options of weight zero;
        ``gives_steps``, it gives the step of the logits, not a gradient; ``replaces``,
        it replaces the gradient of the parameters that it is given.
    """
    while isinstance(piece, functools.partial):
        piece = piece.func
    return getattr(piece, mark, False)


def describe(registry: registry_lib.Registry, piece: Piece) -> dict[str, Any]:
    """Returns a piece as JSON values: its name and every number of its own.

    Args:
      registry: of its kind.
      piece: a registered name, or a function.
    """
    return {"name": name_of(registry, piece), **_own(registry, piece)}


def _own(registry: registry_lib.Registry, piece: Piece) -> dict[str, Any]:
    """A piece's options; a name with a meaning of its own, as a file's, has none."""
    known = not isinstance(piece, str) or piece in registry
    return options(resolve(registry, piece)) if known else {}


def restore(registry: registry_lib.Registry, about: Mapping[str, Any]) -> Piece:
    """Returns the piece that ``describe`` described.

    Args:
      registry: of its kind.
      about: ``name`` and the numbers.

    Raises:
      KeyError: a name that is not registered. Load its plug-in first.
      ValueError: a number that the piece does not have.
    """
    name, given = about["name"], {k: v for k, v in about.items() if k != "name"}
    own = _own(registry, name)
    changed = {k: v for k, v in given.items() if k not in own or own[k] != v}
    return bind(registry, name, changed) if changed else name


def bind(
    registry: registry_lib.Registry, piece: Piece, given: Mapping[str, Any]
) -> Callable:
    """Returns a piece with some of its numbers set.

    Args:
      registry: of its kind.
      piece: a registered name, or a function.
      given: option -> value; a text is read as the option's own type.

    Raises:
      KeyError: a name that is not registered.
      ValueError: an option that the piece does not have, or a text of another type.
    """
    function, name = resolve(registry, piece), name_of(registry, piece)
    known = inspect.signature(function).parameters
    for option in given:
        if option not in options(function):
            raise ValueError(
                f"options must fit the pieces in use, got {option!r} for "
                f"{registry.kind} {name}. {_advice(registry, function, option)}"
            )
    values = {
        option: _read(f"{name}.{option}", value, known[option])
        for option, value in given.items()
    }
    return functools.partial(function, **values)


def _read(name: str, value: Any, parameter: inspect.Parameter) -> Any:
    """Reads a command line's text as an option's type; other values stay.

    ``none`` is None where the option can be, which for a text is its word.
    """
    kind = _kind(parameter)
    if not isinstance(value, str) or kind is str:
        return value
    if value.lower() == "none" and _optional(parameter):
        return None
    words = {"true": True, "false": False}
    try:
        return words[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "an integer", float: "a number"}[kind]
        raise ValueError(
            f"option {name} must be {wanted}, got {value!r}. Correct --options."
        ) from None


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Splits ``slot.option=value`` texts, as ``--options`` has them.

    Args:
      texts: each ``relaxation.start=5``, or ``regularizer.zero_one.strength=2`` where a
        slot holds several pieces and one of them is meant.

    Raises:
      ValueError: another form, or one option twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.strip().partition("=")
        if not equals or not value or not 2 <= len(key.split(".")) <= 3:
            raise ValueError(
                f"options must have the form piece.option=value, got {text!r}. "
                "Write --options=relaxation.start=5,hypergradient.num_steps=2."
            )
        if key in found:
            raise ValueError(f"options must be given once, got {key!r} twice.")
        found[key] = value
    return found


def apply(settings: Any, given: Mapping[str, str]) -> tuple[Any, list[str]]:
    """Binds options to the pieces that a settings dataclass holds.

    A field's slot is its name, without the ``s`` of a tuple's. An option without a
    piece's name goes to every piece of the slot that has it.

    Args:
      settings: an instance of a settings dataclass.
      given: of ``parse``.

    Returns:
      (settings with bound pieces, the keys that were used).

    Raises:
      ValueError: an option that no piece of its slot has.
    """
    changes, used = {}, []
    for slot, (field, registry) in slots(type(settings)).items():
        mine = {key: v for key, v in given.items() if key.split(".")[0] == slot}
        if mine:
            used += mine
            held = getattr(settings, field)
            several = held if isinstance(held, tuple) else (held,) if held else ()
            bound = _bound(registry, slot, several, mine)
            changes[field] = bound if isinstance(held, tuple) else bound[0]
    return (dataclasses.replace(settings, **changes) if changes else settings), used


def slots(cls: type) -> dict[str, tuple[str, registry_lib.Registry]]:
    """Returns slot -> (field, registry) for the pieces of a settings dataclass.

    Args:
      cls: the class.
    """
    return {
        _slot(field): (field.name, field.metadata["pieces"])
        for field in dataclasses.fields(cls)
        if field.metadata.get("pieces") is not None
    }


def _slot(field: dataclasses.Field) -> str:
    several = isinstance(field.default, tuple)
    return field.name.removesuffix("s") if several else field.name


def _bound(registry, slot, held, given) -> tuple:
    """Binds ``slot.option`` and ``slot.name.option`` to the pieces of a slot."""
    chosen: list[dict[str, str]] = [{} for _ in held]
    names = [name_of(registry, piece) for piece in held]
    for key, value in given.items():
        *named, option = key.split(".")[1:]
        for piece, mine in zip(held, chosen, strict=True):
            own = _own(registry, piece)
            meant = name_of(registry, piece) in named if named else option in own
            if meant or len(held) == 1 and not named:
                mine[option] = value
        if not any(option in mine for mine in chosen):
            raise ValueError(
                f"options must fit the pieces in use, got {key!r} where {slot} is "
                f"{', '.join(names) or 'not set'}. Options there: "
                f"{', '.join(n for p in held for n in _own(registry, p)) or 'none'}."
            )
    return tuple(
        bind(registry, piece, mine) if mine else piece
        for piece, mine in zip(held, chosen, strict=True)
    )


def _advice(registry, function, option) -> str:
    """Names the nearest option of a piece, or the pieces that have the option."""
    own = options(function)
    guess = registry_lib.nearest(option, own)
    others = [name for name, piece in registry.items() if option in options(piece)]
    if guess or own or not others:
        return guess or f"Its options: {', '.join(own) or 'none'}."
    return f"It has none; choose one that has it: {', '.join(others)}."
