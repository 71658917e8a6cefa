"""What --help prints: a launcher's docstring, then its flags by group."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import flags

WORDS = ("--help", "-help", "-h", "--helpshort", "--helpfull")
_WIDTH = 88
_LAST = "other"  # group of a flag that nobody described


def asked(argv: Sequence[str]) -> bool:
    """Returns whether a command line asks for help."""
    given = argv[: argv.index("--")] if "--" in argv else argv
    return any(one in WORDS for one in given)


def describe(
    name: str,
    group: str,
    *,
    choices: Callable[[], Iterable[str]] | None = None,
    shown: Callable[[], str] | None = None,
) -> None:
    """Says how --help shows a flag.

    Args:
      name: of a flag that is defined.
      group: heading that it stands under.
      choices: () -> names that may be given, asked when the help is printed.
      shown: () -> text in place of the flag's default.
    """
    flag = flags.FLAGS[name]
    flag.jnas_help = (group, choices, shown)


def text(doc: str, names: Iterable[str]) -> str:
    """Returns the text that --help prints.

    Args:
      doc: docstring of the launcher.
      names: of its own flags.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        group, *_ = _about(name)
        groups.setdefault(group, []).append(name)
    last = groups.pop(_LAST, None)
    if last:
        groups[_LAST] = last
    found = [doc.strip()]
    for group, members in groups.items():
        rows = "\n".join(_row(name) for name in members)
        found.append(f"Flags{'' if len(groups) == 1 else f' ({group})'}:\n{rows}")
    return "\n\n".join(found)


def _about(name: str) -> tuple[str, Any, Any]:
    return getattr(flags.FLAGS[name], "jnas_help", (_LAST, None, None))


def _row(name: str) -> str:
    flag, (_, choices, shown) = flags.FLAGS[name], _about(name)
    head = f"  --[no]{name}" if flag.boolean else f"  --{name}"
    # absl puts an enum's names in front of its text
    words = [flag.help.partition(">: ")[2] or flag.help]
    accepted = getattr(flag.parser, "enum_values", None)
    accepted = choices() if choices else accepted
    if accepted:
        words.append(f"One of {', '.join(accepted)}.")
    words.append(f"[{shown() if shown else _default(flag)}]")
    body = textwrap.fill(
        " ".join(words),
        _WIDTH,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f"{head}\n{body}"


def _default(flag: flags.Flag) -> str:
    value = flag.default
    if isinstance(value, bool):
        return f"default: {'true' if value else 'false'}"
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return "no default" if value in (None, "") else f"default: {value}"
