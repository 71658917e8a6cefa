"""Settings as a file of flags, such as the best ones that a tuning found."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

from absl import flags

from jnas import pieces, registry
from jnas import settings as settings_lib
from jnas.settings import option

FORMAT, VERSION = "jnas.settings", 1
_MOST_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class FileSettings:
    """Where flags are read from. The field carries its own help text."""

    settings: str | None = option(
        None,
        "File of flags, such as the best.json of a tuning; flags of the command line "
        "win.",
        group="schedule",
    )
    __post_init__ = settings_lib.check


def to_json(settings: Any, **about: Any) -> str:
    """Returns the text of a file of settings.

    Args:
      settings: those that are defaults are left out.
      **about: JSON values that describe them.
    """
    content = {"format": FORMAT, "version": VERSION, **about}
    return json.dumps(content | {"flags": flags_of(settings)}, indent=1) + "\n"


def flags_of(settings: Any) -> dict[str, Any]:
    """Returns the flags that give a training these settings.

    Args:
      settings: those that are defaults are left out.
    """
    known, found, options = type(settings), {}, []
    for name, value in settings_lib.changed(settings).items():
        slot = pieces.slots(known).get(name)
        if slot is not None:
            bound = value.keywords if isinstance(value, functools.partial) else {}
            options += [f"{name}.{key}={one}" for key, one in bound.items()]
            value = pieces.name_of(slot[1], value)
        found[name] = value
    return found | ({"options": options} if options else {})


def use_flags(cls: type, values: flags.FlagValues = flags.FLAGS) -> None:
    """Sets the flags of the file that --settings names, if any.

    Flags that the command line gives stay as they are.

    Args:
      cls: settings dataclass, whose fields and options the file may set.
      values: the flags.

    Raises:
      ValueError: no such file, another format, or a flag of something else.
    """
    known = [*(field.name for field in dataclasses.fields(cls)), "options"]
    path = values.settings
    if path is None:
        return
    for name, value in _read(pathlib.Path(path)).items():
        if name not in known:
            raise ValueError(
                f"settings must hold settings of a training, got {name!r} in {path!r}. "
                f"{registry.nearest(name, known)}".rstrip()
            )
        flag = values[name]
        if flag.using_default_value:
            try:
                flag.parse(",".join(value) if isinstance(value, list) else str(value))
            except flags.Error as error:
                raise ValueError(
                    f"settings must hold values that fit, got {value!r} for {name} in "
                    f"{path!r} ({error}). Correct it."
                ) from None
            flag.using_default_value = False


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("the file is too large")
        found = json.loads(path.read_text())
        given = found["flags"]
        if found["format"] != FORMAT or not isinstance(given, dict):
            raise ValueError(f"its format is not {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"settings must be the best.json of a tuning, got {str(path)!r} ({why}). "
            "Check the path."
        ) from None
    if found.get("version") != VERSION:
        raise ValueError(
            f"settings must have version {VERSION}, got {found.get('version')!r} in "
            f"{str(path)!r}. Use a newer jnas."
        )
    return given
