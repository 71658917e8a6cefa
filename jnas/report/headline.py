"""The headline of a report in plain sentences: data, method, result and verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import directed, groups, numbers, spreads
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib

_LONGEST = 90  # characters of a name in a sentence
_LISTED = 4  # names in a sentence
_COSTS = ("parameters", "macs", "seconds")
_SPLITS = ("test", "valid", "train")


def sentences(runs: Sequence[runs_lib.RunFiles]) -> list[str]:
    """Returns what was run on which data, and the result; verdicts are apart.

    Args:
      runs: one or more runs.
    """
    if len(runs) == 1:
        run = runs[0]
        compared = _best(runs) if spreads.methods(run.result) else [result(run)]
        found = [f"{what(run)}{_on(run)}.", *compared]
    else:
        found = [_several(runs), *_best(runs)]
        found += _unfinished(runs)
    return [one for one in found if one]


def verdict(run: runs_lib.RunFiles) -> str:
    """Returns what a run learned, as its result.json says; empty without one."""
    said = run.result.get("verdict")
    return said if isinstance(said, str) else ""


def warnings(run: runs_lib.RunFiles) -> list[str]:
    """Returns the warnings of a run's result, and the error of a run that failed."""
    given = run.result.get("warnings")
    found = [one for one in given if isinstance(one, str)] if _is_list(given) else []
    error = run.run.get("error")
    return [f"The run failed: {error}"] * bool(error) + found


def what(run: runs_lib.RunFiles) -> str:
    """Returns what a run did, without the data.

    Example:
      >>> what(runs_lib.RunFiles("a", run={"flags": {
      ...     "method": "darts", "space": "tiny", "epochs": 3, "num_seeds": 4}}))
      'The method darts searched the space tiny: 3 epochs, 4 seeds'
    """
    flags = groups.flags(run.run)
    compared = list(spreads.methods(run.result))
    compared = compared or groups.listed(run.run, "methods")
    compared = compared or groups.listed(run.run, "controllers")
    if compared:
        return f"{_count(len(compared), 'method')} compared: {_list(compared)}"
    for kind in ("controller", "method"):
        name = _named(flags.get(kind))
        if name and flags.get("space"):
            said = f"The {kind} {name} searched the space {_named(flags['space'])}"
            return said + _effort(flags, run)
    if flags.get("model"):
        split = _named(flags.get("split")) or "test"
        return f"The model {_named(flags['model'])} was evaluated ({split} split)"
    if flags.get("genotype"):
        name = _named(flags["genotype"])
        return f"The genotype {name} was trained from scratch{_effort(flags, run)}"
    if flags.get("minutes"):
        return f"A model was searched, trained and chosen{_within(flags, run)}"
    if flags.get("baseline"):
        name = _named(flags["baseline"])
        return f"The baseline {name} was trained from scratch{_effort(flags, run)}"
    return f"A run of {_named(groups.launcher(run.run))}"


def _within(flags: Mapping[str, Any], run: runs_lib.RunFiles) -> str:
    """Returns minutes and limits, such as " in 8.9 of 10 minutes"."""
    used = numbers.number(run.result.get("minutes_used"))
    given = f"{numbers.text(flags['minutes'])} minutes"
    said = [f" in {numbers.text(used)} of {given}" if used else f" within {given}"]
    for name in ("max_parameters", "max_macs", "max_latency_ms"):
        bound = numbers.number(flags.get(name))
        if bound is not None:
            words = name.removeprefix("max_").replace("_", " ")
            said.append(f"at most {tables_lib.cell(bound)} {words}")
    return ", ".join(said)


def _effort(flags: Mapping[str, Any], run: runs_lib.RunFiles) -> str:
    """Returns how long and how often, such as ": 50 epochs, 4 seeds"."""
    seeds = run.result.get("seeds")
    counts = {
        "evaluation": run.result.get("evaluations") or flags.get("num_evaluations"),
        "epoch": None if _table(flags) else flags.get("epochs"),
        "seed": len(seeds) if _is_list(seeds) else flags.get("num_seeds"),
    }
    if not flags.get("controller"):
        del counts["evaluation"]
    said = [
        _count(int(known), name)
        for name, value in counts.items()
        if (known := numbers.number(value)) and (name != "seed" or known > 1)
    ]
    signals = [_words(one.label) for one in directed.signals(run)]
    return (f" for {_list(signals)}" if len(signals) > 1 else "") + (
        f": {', '.join(said)}" if said else ""
    )


def _on(run: runs_lib.RunFiles) -> str:
    """Returns the data, such as " on digits (1,397 training images of 8 × 8 × 1)"."""
    flags = groups.flags(run.run)
    table = _table(flags)
    if table and not groups.listed(run.run, "methods"):
        return f", on the table {_named(table)}"
    given = run.run.get("data")
    known = given if isinstance(given, dict) else {}
    name = known.get("name") or flags.get("data")
    if not name:
        return ""
    facts = data_facts(known)
    return f", on {_named(name)}" + (f" ({', '.join(facts)})" if facts else "")


def data_facts(known: Mapping[str, Any]) -> list[str]:
    """Returns the sizes of a data set in words.

    Args:
      known: the "data" of run.json; a size that is missing is left out.

    Example:
      >>> data_facts({"num_train": 1397, "image_shape": [8, 8, 1], "num_classes": 10})
      ['1,397 training images', '8\\xa0×\\xa08\\xa0×\\xa01', '10 classes']
    """
    what = "image" if known.get("inputs", "images") == "images" else "example"
    found = [
        _count(int(size), f"{word} {what}")
        for key, word in (("num_train", "training"), ("num_test", "test"))
        if (size := numbers.number(known.get(key))) is not None
    ]
    shape = known.get("image_shape")
    if _is_list(shape) and shape:
        found.append("\u00a0×\u00a0".join(map(tables_lib.cell, shape)))
    for key, word in (("num_classes", "class"), ("num_outputs", "output")):
        if size := numbers.number(known.get(key)):
            return [*found, _count(int(size), word)]
    return found


def result(run: runs_lib.RunFiles) -> str:
    """Returns the most important figures as a sentence, or the run's status."""
    figures = {n: v for n, v in directed.figures(run.result).items() if v is not None}
    signals = [one.name for one in directed.signals(run)]
    names = [n for n in ranked(run) if n in figures and n not in _COSTS]
    names = [n for n in names if n in signals] or names[:1]
    names += ["parameters"] if "parameters" in figures and names else []
    names = list(dict.fromkeys(names))
    if not names:
        status = run.run.get("status")
        known = isinstance(status, str) and status != "finished" and not run.result
        return f"Status: {status}; there is no result yet." if known else ""
    said = [_figure(name, figures[name]) for name in names]
    said += [f"a front of {_count(len(run.front), 'cell')}"] if run.front else []
    return f"Result: {', '.join(said)}."


def _figure(name: str, value: float) -> str:
    short = tables_lib.cell(numbers.short(value, 4))
    if name == "parameters":
        return f"{short}\u00a0parameters"
    return f"{_words(name)}\u00a0{short}"


def ranked(run: runs_lib.RunFiles) -> list[str]:
    """Returns at most six figures of a result: accuracies, then what they cost.

    At most three accuracies or objectives are kept where there are costs.

    Args:
      run: a run with a result.
    """
    names = [
        n for n, value in directed.figures(run.result).items() if value is not None
    ]
    signals = [one.name for one in directed.signals(run)]
    costs = [name for name in _COSTS if name in names]

    def rank(name):
        test, valid, train = (f"{split}_{run.signal}" for split in _SPLITS)
        order = (test, *signals, valid, "score", train)
        return order.index(name) if name in order else len(order)

    train = f"train_{run.signal}"
    good = [n for n in names if n not in costs and _judges(n, signals, train)]
    good.sort(key=rank)
    return [*good[: 6 - len(costs)], *costs]


def _judges(name: str, signals: Sequence[str], train: str) -> bool:
    """Returns whether a figure says how good the result is."""
    first, last = name.split("_")[0], name.split("_")[-1]
    split = first in ("test", "valid") and last not in ("loss", "sd", "seconds")
    return name in signals or last == "score" or split or name == train


def _several(runs: Sequence[runs_lib.RunFiles]) -> str:
    grouped = groups.groups(runs)
    names = [
        f"{group.label} ({group.n} runs)" if group.n > 1 else group.label
        for group in grouped
    ]
    data = dict.fromkeys(
        one for run in runs if (one := _on(run).removeprefix(", on ").split(" (")[0])
    )
    said = (
        f"{len(runs)} runs of {_count(len(grouped), 'configuration')}: {_list(names)}"
    )
    return said + (f", on {_list(list(data))}." if data else ".")


def _best(runs: Sequence[runs_lib.RunFiles]) -> list[str]:
    """Returns the best configuration by the first metric that they share."""
    compared, known = spreads.compare(runs), directed.of(runs)
    names = sorted(compared, key=lambda name: "test" not in name)
    for name in names[:1]:
        metric = directed.metric(name, known)
        best = max(compared[name], key=lambda one: metric.sign * one.mean)
        sd = f" ± {tables_lib.cell(best.sd)}" if best.sd is not None else ""
        kind = "Highest" if metric.sign > 0 else "Lowest"
        over = f", mean of {best.n:,} runs" if best.n > 1 else ""
        return [
            f"{kind} {_words(name)}: {_cut(best.name)}, "
            f"{tables_lib.cell(best.mean)}{sd}{over}."
        ]
    return []


def _unfinished(runs: Sequence[runs_lib.RunFiles]) -> list[str]:
    names = [run.name for run in runs if run.run.get("status") != "finished"]
    return [f"Not finished: {_list(names)}."] if names else []


def _table(flags: Mapping[str, Any]) -> str:
    given = flags.get("objective")
    table = given.removeprefix("table:") if isinstance(given, str) else ""
    return "" if table == given else table


def _named(value: Any) -> str:
    """Returns the name of a piece, genotype or data set for a sentence."""
    if isinstance(value, Mapping):
        value = value.get("name", "")
    return _cut(tables_lib.cell(value)) if value else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _list(names: Sequence[Any]) -> str:
    """Returns names with commas; of many, the first and how many more there are."""
    shown = [_cut(str(name)) for name in names[:_LISTED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _count(number: int, noun: str) -> str:
    ending = "" if number == 1 else ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun}{ending}"


def _words(name: str) -> str:
    """Returns a metric's name in a sentence; one with digits, as valid_12, is kept."""
    return name if any(map(str.isdigit, name)) else name.replace("_", " ")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
