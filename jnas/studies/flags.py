"""A flag for every piece and number of a method; what is not given is the paper's."""

import dataclasses
import re

from absl import flags

from jnas import registry
from jnas.gradient import methods

flags.disclaim_key_flags()  # what is defined here is the launcher's, also for --help

_NO_FLAG = ("source", "stages")
_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define_method_flags() -> None:
    """Defines --method, and a flag for each attribute of ``methods.Method``."""
    flags.DEFINE_string("method", "darts", "Method: a row of pieces and numbers.")
    help_of = dict(
        re.findall(r"^  (\w+): (.+?)(?=^  \w+:|\Z)", _attributes(), re.M | re.S)
    )
    for field in dataclasses.fields(methods.Method):
        if field.name not in _NO_FLAG:
            kind = int if field.default is None else type(field.default)
            text = " ".join(help_of[field.name].split())
            _DEFINE[kind](field.name, None, f"{text} The method's if not given.")


def method_of_flags() -> methods.Method:
    """Returns the method that the flags name, with what they replace.

    Raises:
      KeyError: no such method; the nearest is guessed.
      ValueError: a number out of its range.
    """
    values = flags.FLAGS
    given = {
        field.name: values[field.name].value
        for field in dataclasses.fields(methods.Method)
        if field.name not in _NO_FLAG and values[field.name].value is not None
    }
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    method = registry.METHODS[values["method"].value]()
    return dataclasses.replace(method, **given)


def _attributes() -> str:
    text = methods.Method.__doc__.split("Attributes:", 1)[1]
    return re.sub(r"^    ", "", text, flags=re.M)
