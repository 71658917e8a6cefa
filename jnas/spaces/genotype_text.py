"""Text formats of a genotype: strict JSON, and the strings of two papers; its files."""

import codecs
import json
import os
import pathlib
import tempfile
from collections.abc import Collection

from jnas.spaces import genotype as rules
from jnas.spaces import genotype_strings as strings
from jnas.spaces.genotype import MAX_NAME as MAX_NAME
from jnas.spaces.genotype import MAX_STATES as MAX_STATES
from jnas.spaces.genotype import Cell as Cell
from jnas.spaces.genotype import Genotype as Genotype
from jnas.spaces.genotype import GenotypeError as GenotypeError
from jnas.spaces.genotype_choices import Choices as Choices
from jnas.spaces.genotype_json import FORMAT as FORMAT
from jnas.spaces.genotype_json import MAX_DEPTH as MAX_DEPTH
from jnas.spaces.genotype_json import VERSION as VERSION
from jnas.spaces.genotype_json import from_json as from_json
from jnas.spaces.genotype_json import to_json as to_json
from jnas.spaces.genotype_strings import MAX_BYTES as MAX_BYTES
from jnas.spaces.genotype_strings import from_darts as from_darts
from jnas.spaces.genotype_strings import from_nasbench201 as from_nasbench201
from jnas.spaces.genotype_strings import to_darts as to_darts
from jnas.spaces.genotype_strings import to_nasbench201 as to_nasbench201
from jnas.spaces.lookups import NONE

AnyGenotype = Genotype | Choices
FORMS = (
    "a genotype.json, a NAS-Bench-201 string (|op~0|+...) or what DARTS prints, "
    "Genotype(normal=[...], ...)"
)


def short_form(genotype: AnyGenotype) -> str:
    """Returns the shortest one line from which ``parse`` reads the same genotype.

    NAS-Bench-201's string, with ``none`` on edges that the cell lacks; the string that
    DARTS prints; or JSON.

    Args:
      genotype: the genotype.

    Example:
      >>> cell = Cell(edges=((0, 3, "a"),), concat=(3,))
      >>> short_form(Genotype("nasbench201", (("cell", cell),)))
      '|none~0|+|none~0|none~1|+|a~0|none~1|none~2|'
    """
    if isinstance(genotype, Choices):
        return _one_line(genotype)
    names = {name for _, cell in genotype.cells for _, _, name in cell.edges}
    known = names | {NONE}
    try:
        if genotype.space == "nasbench201":
            text = to_nasbench201(genotype, missing=NONE)
            from_nasbench201(text, operations=known)  # no operation holds | ~ or +
            return text
        text = to_darts(genotype)
        if from_darts(text, operations=known) == genotype:
            return text
    except GenotypeError:
        pass  # neither string can hold it
    return _one_line(genotype)


def _one_line(genotype: AnyGenotype) -> str:
    return json.dumps(json.loads(to_json(genotype)), separators=(",", ":"))


def parse(
    text: str, *, space: str = "darts", operations: Collection[str] | None = None
) -> AnyGenotype:
    """Reads a genotype in any form: JSON, NAS-Bench-201's or the one DARTS prints.

    Args:
      text: one genotype.
      space: the name of the space of a string that DARTS printed, which has none.
      operations: the allowed names of operations, as for ``from_json``.

    Raises:
      GenotypeError: the text has none of these forms, or breaks a rule of its form.

    Example:
      >>> parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
      ...       operations=["none"]).space
      'nasbench201'
    """
    text = text.strip().removeprefix("\ufeff")
    if text.startswith(("{", "[")):
        return from_json(text, operations=operations)
    if text.startswith("|"):
        return from_nasbench201(text, operations=operations)
    rules.check("Genotype(" in text, "genotype", f"be {FORMS}", text, "Convert it.")
    return from_darts(text, space=space, operations=operations)


def load(
    path: str | os.PathLike,
    *,
    name: str = "",
    space: str = "darts",
    operations: Collection[str] | None = None,
) -> AnyGenotype:
    """Reads a genotype from a file, whatever its suffix.

    A Python file or a log may hold other text beside what DARTS prints. Nothing in it
    is evaluated. A byte order mark of UTF-8 is skipped.

    Args:
      path: a file in one of the forms of ``parse``.
      name: what the genotype is assigned to, where a Python file holds several.
      space: the space of a string that DARTS printed.
      operations: the allowed names of operations, as for ``from_json``.

    Raises:
      GenotypeError: the file cannot be read, has another form, holds several
        genotypes, or breaks a rule of its form.
    """
    text = _read(path)
    start = text.lstrip()[:1]
    if not name and start in ("{", "[", "|"):
        return parse(text, operations=operations)
    found = strings.find_darts(text)
    ok = found or "Genotype(" in text
    shown = rules.Plain(f"{_shown(text)} in {str(path)!r}")
    rules.check(ok, "genotype", f"be {FORMS}", shown, "Convert it.")
    if not found:
        return from_darts(text, space=space, operations=operations)
    chosen = _choose(path, found, name)
    return from_darts(chosen, space=space, operations=operations)


def _choose(path: str | os.PathLike, found: list[tuple[str, str]], name: str) -> str:
    """Returns the only string, or the only one of a name."""
    own = dict.fromkeys(text for n, text in found if not name or n == name)
    if len(own) == 1:
        return next(iter(own))
    names = list(dict.fromkeys(n for n, _ in found if n))
    one = next((n for n in names if [m for m, _ in found].count(n) == 1), None)
    todo = f"Name one, {path}:{one}." if one else "Copy one of them to a file."
    what = f"named {name!r} " if name else ""
    listed = f" ({', '.join(names[:8])})" if names else ""
    shown = rules.Plain(f"{len(own)} in {str(path)!r}{listed}")
    raise rules.error("genotype", f"be one genotype {what}in a file", shown, todo)


def _shown(text: str) -> str:
    return repr(text.strip()[:30]) if text.strip() else "no text"


def _read(path: str | os.PathLike) -> str:
    """Returns the text of a file."""
    try:
        if not os.path.isfile(path):  # opening a pipe would block forever
            raise FileNotFoundError
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        todo = "Check the path."
        raise rules.error("genotype", "name a readable file", str(path), todo) from None
    rule = f"be at most {MAX_BYTES} bytes"
    ok = len(data) <= MAX_BYTES
    rules.check(ok, "genotype", rule, rules.Plain("a longer one"))
    marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
    wide = data.startswith(marks) or b"\0" in data[:4]
    try:
        if wide:
            raise UnicodeError
        return data.decode("utf-8-sig")
    except UnicodeError:
        todo = "Save it as UTF-8." if wide else f"Give {FORMS}."
        raise rules.error("genotype", "be UTF-8 text", str(path), todo) from None


def save(path: str | os.PathLike, genotype: AnyGenotype) -> None:
    """Writes a ``genotype.json`` atomically: readers see the old or the new file."""
    path = pathlib.Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(to_json(genotype))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0o600 would hide it from other users
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
