"""Groups runs that differ only in their seed, and labels groups by what differs."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnas.report import numbers, tables
from jnas.report import runs as runs_lib

_PLAIN = ("method", "controller")  # flags shown by their value alone
_LONGEST = 60  # characters of a label


class Group(NamedTuple):
    """Runs of one configuration.

    Attributes:
      label: the group's label in legends, without the number of runs.
      runs: one or more runs, which differ only in their seed.
    """

    label: str
    runs: tuple[runs_lib.RunFiles, ...]

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.runs)


def launcher(run: Mapping[str, Any]) -> str:
    """Returns the name of a run's launcher: its script without the .py, or command.

    Example:
      >>> [launcher({"command": command}) for command in (
      ...     "python experiments/search.py --seed=1", "jnas search --seed=1",
      ...     "python experiments search --plugins=a.py", "python -m notebook")]
      ['search', 'search', 'search', 'run']
    """
    words = str(run.get("command") or "").split()
    before = [*words, *[""] * 3]
    if before[0] == "jnas" or pathlib.PurePosixPath(before[1]).name == "experiments":
        return before[1 if before[0] == "jnas" else 2] or "run"
    names = [pathlib.PurePosixPath(word).stem for word in words if word.endswith(".py")]
    return names[0] if names else "run"


def groups(runs: Sequence[runs_lib.RunFiles]) -> list[Group]:
    """Groups runs by launcher, data, all flags but the seed, and what they extend.

    A training that was extended from fewer epochs is no run of its last --epochs: its
    learning rate went through two schedules.

    Runs that trained the genotype of a search are grouped by the flags of that search,
    not by the path of the genotype.

    Args:
      runs: runs, in the order of the legend.

    Returns:
      Groups in the order of their first runs. Their labels are the runs' names where
      each group has one run, else the flags that differ.
    """
    found: dict[str, list[runs_lib.RunFiles]] = {}
    for run in runs:
        found.setdefault(json.dumps(_facts(run), sort_keys=True), []).append(run)
    members = list(found.values())
    if all(len(one) == 1 for one in members):
        labels = [one[0].name for one in members]
    else:
        labels = _labels([_facts(one[0]) for one in members])
    labels = [
        label if label and labels.count(label) == 1 else ", ".join(r.name for r in one)
        for label, one in zip(labels, members, strict=True)
    ]
    return [
        Group(_cut(label), tuple(one))
        for label, one in zip(labels, members, strict=True)
    ]


def flags(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the flags of a run's record; empty where it has none."""
    found = run.get("flags")
    return dict(found) if isinstance(found, dict) else {}


def listed(run: Mapping[str, Any], name: str) -> list[str]:
    """Returns the texts of a flag that holds a list; empty where it holds none."""
    value = flags(run).get(name)
    given = value if isinstance(value, list | tuple) else ()
    return [one for one in given if isinstance(one, str)]


def extended_from(run: runs_lib.RunFiles) -> list[int]:
    """Returns the epochs after which a run was once finished, before it was extended.

    They are in its result; while it has none, in the starts of run.json that finished
    with another number of epochs.

    Args:
      run: a run; the list is empty for one that was never extended.

    Example:
      >>> extended_from(runs_lib.RunFiles("a", result={"extended_from": [50]}))
      [50]
    """
    given = run.result.get("extended_from")
    if given is None:
        starts = run.run.get("starts")
        listed = starts if isinstance(starts, list) else []
        ended = [
            flags(start).get("epochs")
            for start in listed
            if isinstance(start, dict) and start.get("status") == "finished"
        ]
        given = [one for one in ended if one != flags(run.run).get("epochs")]
    given = given if isinstance(given, list | tuple) else [given]
    known = [numbers.number(one) for one in given]
    return [int(one) for one in known if one is not None]


def _facts(run: runs_lib.RunFiles) -> dict[str, Any]:
    facts = {
        "launcher": launcher(run.run),
        "data_digest": run.run.get("data_digest"),
        **flags(run.run),
    }
    facts.pop("seed", None)
    extended = extended_from(run)
    if extended:
        facts["extended_from"] = extended
    if run.origin:
        del facts["genotype"]
        source = {"from": launcher(run.origin), **flags(run.origin)}
        facts |= {f"search {name}": value for name, value in source.items()}
    return facts


def _labels(facts: list[dict[str, Any]]) -> list[str]:
    """Returns labels made of the flags that differ among runs of one launcher."""
    several = len({one["launcher"] for one in facts}) > 1
    labels = []
    for one in facts:
        peers = [other for other in facts if other["launcher"] == one["launcher"]]
        names = [
            name
            for name in one
            if len({json.dumps(peer.get(name)) for peer in peers}) > 1
        ]
        parts = [_part(name, one[name]) for name in names if name != "data_digest"]
        if several or not parts:
            parts.insert(0, one["launcher"])
        labels.append(", ".join(parts))
    return labels


def _part(name: str, value: Any) -> str:
    text = tables.cell(value)
    return text if name.split()[-1] in _PLAIN else f"{name}={text}"


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
