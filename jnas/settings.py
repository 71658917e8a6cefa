"""Settings: dataclasses whose fields carry default, help text, range and choices.

A number is written once, as a field of a frozen dataclass. Command-line flags, range
checks, ``run.json`` and the documentation are made from that field.

Example:
  >>> @dataclasses.dataclass(frozen=True)
  ... class Training:
  ...     epochs: int = option(50, "Passes over the training split.", least=1)
  ...     __post_init__ = check
  >>> to_json(Training(epochs=3))
  {'epochs': 3}
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from jnas import pieces as pieces_lib
from jnas import registry

GROUPS = ("run", "data", "space", "method", "search", "network", "schedule")
_REQUIRED = dataclasses.MISSING


def option(
    default: Any = _REQUIRED,
    text: str = "",
    *,
    group: str = "search",
    least: float | None = None,
    most: float | None = None,
    among: tuple[str, ...] = (),
    pieces: registry.Registry | None = None,
    flag: bool = True,
) -> Any:
    """Makes a field of a settings dataclass.

    Args:
      default: its default value; a field without one must be given.
      text: help text, one or two sentences that can be read alone.
      group: heading under which ``--help`` lists it, one of ``GROUPS``.
      least: smallest number allowed, or None.
      most: largest number allowed, or None.
      among: texts that are allowed; empty allows any.
      pieces: registry whose names are allowed; a function is allowed too.
      flag: False for a field that has no command-line flag.
    """
    about = {
        "help": text,
        "group": group,
        "least": least,
        "most": most,
        "among": among,
        "pieces": pieces,
        "flag": flag,
    }
    if default is _REQUIRED:
        return dataclasses.field(metadata=about)
    return dataclasses.field(default=default, metadata=about)


def kind(cls: type, name: str) -> type:
    """Returns the type of a field's values, ``None`` and functions left aside.

    Args:
      cls: a settings dataclass.
      name: of the field.

    Returns:
      bool, int, float, str, tuple or a settings dataclass.
    """
    hint = typing.get_type_hints(cls)[name]
    choices = typing.get_args(hint) if _is_union(hint) else (hint,)
    for choice in choices:
        plain = typing.get_origin(choice) or choice
        if isinstance(plain, type) and plain is not type(None):
            if not issubclass(plain, Callable):
                return plain
    raise TypeError(f"{cls.__name__}.{name} must have a plain type, got {hint}.")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def changed(one: Any) -> dict[str, Any]:
    """Returns the fields of settings that differ from their defaults.

    Args:
      one: settings, an instance of a dataclass.
    """
    return {
        field.name: getattr(one, field.name)
        for field in dataclasses.fields(one)
        if getattr(one, field.name) != field.default
    }


def check(settings: Any) -> None:
    """Checks every field of a settings dataclass against its range and choices.

    Args:
      settings: an instance; a class calls this as its ``__post_init__``.

    Raises:
      ValueError: a value out of range, or not among those allowed.
    """
    for field in dataclasses.fields(settings):
        about, value = field.metadata, getattr(settings, field.name)
        least, most, among = (about.get(key) for key in ("least", "most", "among"))
        if among and value not in among:
            raise ValueError(
                f"{field.name} must be one of {', '.join(among)}, got {value!r}. "
                f"{registry.nearest(str(value), among)}".rstrip()
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if least is not None and not value >= least:
            raise ValueError(
                f"{field.name} must be at least {least}, got {value}. "
                "Choose a larger one."
            )
        if most is not None and not value <= most:
            raise ValueError(
                f"{field.name} must be at most {most}, got {value}. "
                "Choose a smaller one."
            )


def to_json(settings: Any) -> dict[str, Any]:
    """Returns settings as JSON values, each piece with every number of its own.

    Args:
      settings: an instance of a settings dataclass.

    Returns:
      field -> value; a registered piece is ``{"name": ..., option: value, ...}``, a
      tuple of pieces a list of such.
    """
    return {
        field.name: _plain(getattr(settings, field.name), field.metadata.get("pieces"))
        for field in dataclasses.fields(settings)
    }


def _plain(value: Any, pieces: registry.Registry | None) -> Any:
    if isinstance(value, tuple):
        return [_plain(one, pieces) for one in value]
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if pieces is not None and value:
        return pieces_lib.describe(pieces, value)
    return value


def from_json(cls: type, values: Mapping[str, Any]) -> Any:
    """Builds settings from what ``to_json`` returned.

    Args:
      cls: the settings dataclass.
      values: field -> JSON value. Pieces are looked up by name and bound to the
        numbers that were written.

    Raises:
      ValueError: a field that the class does not have.
      KeyError: a piece that is not registered; load its plug-in first.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(
            f"{cls.__name__} must have the fields {', '.join(fields)}, got "
            f"{unknown[0]!r}. {registry.nearest(unknown[0], fields)}".rstrip()
        )
    return cls(**{n: _rich(cls, fields[n], v) for n, v in values.items()})


def _rich(cls: type, field: dataclasses.Field, value: Any) -> Any:
    inner = _inner(cls, field.name)
    if isinstance(value, list):
        return tuple(_rich_one(inner, field, one) for one in value)
    return _rich_one(inner, field, value)


def _rich_one(inner: Any, field: dataclasses.Field, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    if dataclasses.is_dataclass(inner):
        return from_json(inner, value)
    return pieces_lib.restore(field.metadata["pieces"], value)


def _inner(cls: type, name: str) -> Any:
    """The dataclass that a field holds, by itself or in a tuple; else None."""
    hint = typing.get_type_hints(cls)[name]
    for one in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(one):
            return one
    return None
