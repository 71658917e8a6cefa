"""A flag for every field of settings, and settings back from the flags.

The only place where settings meet the command line: name, type, default, help text,
range and choices of a flag come from the dataclass field.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from jnas import pieces, registry, run, settings
from jnas.gradient import methods
from jnas.run import launch_help

flags.disclaim_key_flags()  # what is defined here is the launcher's, also for --help

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


class Flags(NamedTuple):
    """The flags of a launcher.

    Attributes:
      classes: settings dataclasses, each field of which has a flag.
    """

    classes: tuple[type, ...]

    @property
    def seed(self) -> int:
        """The seed of the run, before it is open."""
        return flags.FLAGS.seed

    def read(self) -> tuple[Any, ...]:
        """Returns an instance of each class, with the values of the flags.

        Raises:
          ValueError: a value out of its range, or an option that no piece has.
          KeyError: a piece that is not registered; the nearest is guessed.
        """
        texts = flags.FLAGS["options"].value if "options" in flags.FLAGS else ()
        given = pieces.parse(texts or ())
        made, used = [], set()
        for cls in self.classes:
            one, keys = _with_options(_read(cls), given)
            made.append(one)
            used.update(keys)
        for key in given:
            if key not in used:
                _refuse_option(key, self.classes)
        return tuple(made)

    def given(self) -> frozenset[str]:
        """Returns the fields whose flags were set, by the user or from a file."""
        fields = [one for cls in self.classes for one in dataclasses.fields(cls)]
        if methods.Method in [field.type for field in fields]:
            fields += dataclasses.fields(methods.Method)
        names = {field.name for field in fields}
        return frozenset(
            name
            for name in names
            if name in flags.FLAGS and not flags.FLAGS[name].using_default_value
        )

    def open_run(
        self,
        source: Any,
        *used: Any,
        extendable: Sequence[str] = (),
        content: Mapping[str, Any] | None = None,
        **more: Mapping[str, Any],
    ) -> run.Run:
        """Opens the run of the flags, which keeps the settings in ``run.json``.

        Args:
          source: the data set or table; it has a ``digest``, and a ``summary`` if
            ``run.json`` is to describe it.
          *used: settings that the launcher changed or added after ``read``.
          extendable: settings that --allow_changed may raise in a finished run.
          content: name -> JSON value, of files that flags name: a run is compared by
            their content too.
          **more: name -> settings of several methods, by name.
        """
        made = {type(one): one for one in (*self.read(), *used)}
        whole = {
            k: v for one in made.values() for k, v in settings.to_json(one).items()
        }
        whole |= {
            name: {key: settings.to_json(one) for key, one in several.items()}
            for name, several in more.items()
        } | dict(content or {})
        summary = getattr(source, "summary", None)
        return run.from_flags(
            source.digest,
            settings=whole,
            data=summary() if summary else None,
            extendable=extendable,
        )


def define(*classes: type, **defaults: Any) -> Flags:
    """Defines the flags of a run and one for each field of the settings.

    Two classes may share a field of one name and type; it is one flag.

    Args:
      *classes: settings dataclasses.
      **defaults: field -> default of this launcher, in place of the class's own.
    """
    run.define_run_flags()
    for cls in classes:
        for field in dataclasses.fields(cls):
            if field.type is methods.Method:
                _define_method()
            elif field.name not in flags.FLAGS:
                _define(cls, field, defaults.get(field.name, field.default))
    if any(_slots(cls) for cls in classes):
        _define_options(classes)
    return Flags(classes)


def _slots(cls: type) -> dict[str, tuple[str, registry.Registry]]:
    """Returns the slots of --options, those of a method inside the class included."""
    nested = methods.Method in [field.type for field in dataclasses.fields(cls)]
    return pieces.slots(cls) | (pieces.slots(methods.Method) if nested else {})


def _define_options(classes: tuple[type, ...]) -> None:
    slots = {slot: known for cls in classes for slot, (_, known) in _slots(cls).items()}
    flags.DEFINE_list(
        "options",
        None,
        "Numbers inside pieces, comma-separated, as relaxation.start=5; "
        "regularizer.zero_one.strength=2 where a slot holds several pieces.",
    )
    launch_help.describe("options", "method", shown=lambda: _all_options(slots))


def _all_options(slots: Mapping[str, registry.Registry]) -> str:
    """Lists every option that a registered piece has, with its default."""
    found = []
    for slot, known in slots.items():
        for name, piece in known.items():
            own = pieces.options(piece)
            numbers = ", ".join(f"{option}={_text(v)}" for option, v in own.items())
            found += [f"{slot} {name}: {numbers}"] if own else []
    return "; ".join(found)


def _define_method() -> None:
    flags.DEFINE_string(
        "method", "darts", "Gradient method: a row of pieces and numbers."
    )
    launch_help.describe("method", "method", choices=lambda: list(registry.METHODS))
    for field in dataclasses.fields(methods.Method):
        if field.metadata["flag"]:
            _define(methods.Method, field, None)
            launch_help.describe(
                field.name,
                field.metadata["group"],
                choices=_names(field),
                shown=_row_value(field),
            )


def _row_value(field: dataclasses.Field):
    """Returns () -> the number that --method sets, and DARTS' if it is another."""

    def of(name: str) -> str:
        return _text(_plain(getattr(registry.METHODS[name](), field.name), field))

    def shown() -> str:
        name = flags.FLAGS["method"].value
        name = name if name in registry.METHODS else "darts"
        also = f"; darts: {of('darts')}" if of(name) != of("darts") else ""
        return f"{name}: {of(name)}{also}"

    return shown


def _plain(value: Any, field: dataclasses.Field) -> Any:
    registered = field.metadata["pieces"]
    if registered is not None and value:
        several = value if isinstance(value, tuple) else (value,)
        return tuple(pieces.name_of(registered, one) for one in several)
    if field.name == "stages":
        return json.dumps([settings.to_json(stage) for stage in value])
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def _define(cls: type, field: dataclasses.Field, default: Any) -> None:
    about, kind = field.metadata, settings.kind(cls, field.name)
    if default is dataclasses.MISSING:
        default = None
    if isinstance(default, tuple):
        default = list(default)
    name, how = field.name, {}
    if about["among"]:
        flags.DEFINE_enum(name, default, list(about["among"]), about["help"])
    else:
        if name == "stages":
            kind = str
        # a method's numbers are checked with the method: its row may not be known yet
        if kind in (int, float) and cls is not methods.Method:
            how = {"lower_bound": about["least"], "upper_bound": about["most"]}
        _DEFINE[kind](name, default, about["help"], **how)
    if field.default is dataclasses.MISSING and default is None:
        flags.mark_flag_as_required(name)
    launch_help.describe(name, about["group"], choices=_names(field))


def _names(field: dataclasses.Field):
    """Returns () -> the registered names of a field that holds a piece, or None."""
    registered = field.metadata["pieces"]
    return None if registered is None else lambda: list(registered)


def _read(cls: type) -> Any:
    values = {}
    for field in dataclasses.fields(cls):
        if field.type is methods.Method:
            values[field.name] = _read_method()
        elif field.metadata["flag"]:
            values[field.name] = _value(field.name)
    return cls(**values)


def _value(name: str) -> Any:
    value = flags.FLAGS[name].value
    return tuple(value) if isinstance(value, list) else value


def _read_method() -> methods.Method:
    """Returns the method that --method names, with what other flags replace."""
    given = {
        field.name: _value(field.name)
        for field in dataclasses.fields(methods.Method)
        if field.metadata["flag"] and flags.FLAGS[field.name].value is not None
    }
    if "stages" in given:
        given["stages"] = _read_stages(given["stages"])
    row = registry.METHODS[flags.FLAGS["method"].value]()
    return dataclasses.replace(row, **given)


def _read_stages(text: str) -> tuple[methods.Stage, ...]:
    try:
        found = json.loads(text)
        return tuple(settings.from_json(methods.Stage, one) for one in found)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"stages must be a JSON list of objects, got {text!r} ({error}). "
            'Write --stages=\'[{"epochs_rate": 0.5}, {"epochs_rate": 0.5}]\'.'
        ) from None


def _with_options(one: Any, given: Mapping[str, str]) -> tuple[Any, list[str]]:
    one, used = pieces.apply(one, given)
    for field in dataclasses.fields(one):
        if isinstance(getattr(one, field.name), methods.Method):
            inner, more = pieces.apply(getattr(one, field.name), given)
            one, used = dataclasses.replace(one, **{field.name: inner}), used + more
    return one, used


def _refuse_option(key: str, classes: tuple[type, ...]) -> None:
    known = [slot for cls in classes for slot in _slots(cls)]
    slot = key.split(".")[0]
    raise ValueError(
        f"options must begin with one of {', '.join(known)}, got {key!r}. "
        f"{registry.nearest(slot, known)}".rstrip()
    )
