"""Malformed genotype files: each is read, or rejected with one printable line."""

import json
import pathlib
import re
from typing import Any

from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
CHUNK = 5000  # inputs of one hypothesis search, which keeps all inputs in memory
MESSAGE = re.compile(r".+ must .+, got .*\. .+[.?]")
_FORMS = (
    "|none~0|+|none~0|skip_connect~1|+|none~0|none~1|sep_conv_3x3~2|",
    "Genotype(normal=[('none', 0), ('none', 1)], normal_concat=range(2, 6), "
    "reduce=[('skip_connect', 0), ('none', 1)], reduce_concat=[2, 3])",
)


def document() -> dict[str, Any]:
    """Returns a valid genotype file as a JSON value."""
    cell = {"edges": [[0, 2, "none"], [1, 2, "skip_connect"]], "concat": [2]}
    fields = {"format": "jnas.genotype", "version": 1, "space": "mine"}
    return fields | {"cells": {"normal": cell, "reduce": cell}}


def check(given: str | bytes, path: pathlib.Path) -> bool:
    """Reads an input with every reader of genotypes.

    Args:
      given: the text of a file, or its bytes.
      path: the file to which bytes are written.

    Returns:
      Whether the input is a genotype.

    Raises:
      AssertionError: the error message has not jnas' form, or writing and reading the
        genotype again changes it.
      Exception: a reader raised something other than a GenotypeError.
    """
    if isinstance(given, bytes):
        path.write_bytes(given)
        return _accepts(lambda: genotype_text.load(path, operations=OPERATIONS))
    readers = (
        genotype_text.from_json,
        genotype_text.from_nasbench201,
        genotype_text.from_darts,
    )
    return any(
        [_accepts(lambda r=read: r(given, operations=OPERATIONS)) for read in readers]
    )


def _accepts(read: Any) -> bool:
    try:
        found = read()
    except genotypes.GenotypeError as error:
        line = str(error)
        if not (line.isprintable() and len(line) < 600 and MESSAGE.fullmatch(line)):
            raise AssertionError(f"message of a wrong form: {line!r}") from error
        return False
    again = genotype_text.from_json(genotype_text.to_json(found), operations=OPERATIONS)
    if again != found or hash(again) != hash(found):
        raise AssertionError(f"changed by writing and reading: {found!r}")
    return True


def inputs() -> Any:
    """Returns hypothesis' strategy of texts and bytes, most of them nearly valid."""
    from hypothesis import strategies as st  # a development dependency

    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.integers(0, 70),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["none", "skip_connect", "", "\0", "\ud800", "a" * 101]),
    )
    trees = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
        ),
        max_leaves=12,
    )
    text = json.dumps(document())
    places = st.integers(0, len(text))
    digits = st.integers(1, 6000).map(lambda n: "9" * n)
    texts = st.one_of(
        st.text(),
        st.text('[]{}":,0123456789.eNaIt\\u-'),
        trees.map(json.dumps),
        st.builds(_replaced_text, st.lists(st.integers(0, 9), max_size=6), trees),
        st.builds(_spliced, st.just(text), places, st.integers(0, 3), st.text()),
        st.builds(_spliced, st.just(text), places, places, st.just("")),
        st.builds(_nested, st.integers(1, 20_000), st.sampled_from(["[", '{"a":'])),
        st.builds(_with_number, digits | st.just("1e999") | st.just("-0.0")),
        st.builds(_doubled, st.integers(0, 30)),
        st.builds(
            _spliced, st.sampled_from(_FORMS), st.integers(0, 120), st.integers(0, 3),
            st.text("|~+0123(),[]' =none", max_size=6),
        ),
    )  # fmt: skip
    damaged = st.builds(
        _spliced, st.just(text.encode()), places, places, st.binary(max_size=8)
    )
    return texts | st.binary() | damaged


def _replaced_text(path: list[int], new: Any) -> str:
    return json.dumps(_replaced(document(), path, new))


def _replaced(value: Any, path: list[int], new: Any) -> Any:
    """Returns a JSON value with the node at a path replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    copy = value.copy()
    copy[key] = _replaced(value[key], path[1:], new)
    return copy


def _spliced(text: Any, start: int, length: int, new: Any) -> Any:
    return text[:start] + new + text[start + length :]


def _nested(depth: int, opener: str) -> str:
    return opener * depth + "1" + ("]" if opener == "[" else "}") * depth


def _with_number(digits: str) -> str:
    return json.dumps(document()).replace("[0, 2", f"[{digits}, 2", 1)


def _doubled(number: int) -> str:
    """Repeats one of the document's keys, with its value."""
    text = json.dumps(document())
    fields = re.findall(r'"\w+": (?:"[^"]*"|\d+|\[[^\[\]]*\])', text)
    field = fields[number % len(fields)]
    return text.replace(field, f"{field}, {field}", 1)


def search(num_inputs: int, folder: pathlib.Path, *, seed: int) -> dict[str, Any]:
    """Searches for an input on which ``check`` fails.

    Args:
      num_inputs: number of inputs to try.
      folder: folder for the input file.
      seed: seed of the search.

    Returns:
      The counts; "wrong" holds the error of the smallest input of each failure.

    Raises:
      ImportError: hypothesis is not installed.
    """
    try:
        import hypothesis
    except ImportError as error:
        raise ImportError("Install hypothesis: pip install 'jnas[dev]'.") from error
    folder.mkdir(parents=True, exist_ok=True)
    tried, accepted, wrong = 0, 0, []
    settings = hypothesis.settings(
        database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    for number, start in enumerate(range(0, num_inputs, CHUNK)):
        most = min(CHUNK, num_inputs - start)

        @hypothesis.seed(seed + number)
        @hypothesis.settings(settings, max_examples=most)
        @hypothesis.given(inputs())
        def one(given):
            nonlocal tried, accepted
            tried += 1
            accepted += check(given, folder / "given.json")

        try:
            one()
        except Exception as error:  # any error is a failure of the parser
            wrong.append(f"parser: {type(error).__name__}: {str(error)[:300]}")
    return {
        "trial": "genotype files",
        "tried": tried,
        "survived": tried - len(wrong),
        "genotypes": accepted,
        "wrong": wrong,
    }
