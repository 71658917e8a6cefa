"""What every launcher shares: the flags of a run, and errors in one line."""

import contextlib
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from jnas import registry
from jnas.run import (
    compile_cache,
    device_flags,
    folder,
    launch_help,
    record,
    signals,
    team,
    team_run,
    workdir,
)

flags.disclaim_key_flags()  # what is defined here is the launcher's, also for --help

_MAX_INTEGER = 2**31 - 1  # what a compiled program counts with
_USER_ERRORS = (ValueError, TypeError, KeyError, OSError)  # RunError is a ValueError
_BESIDE_THE_RESULT = (  # flags that do not decide a result
    "workdir",
    "debug",
    "cache",
    "checkpoint_seconds",
    "checkpoint_steps",
    "allow_changed",
    "observers",
    "num_devices",
    "deterministic",
    *device_flags.PROCESS_FLAGS,
    *device_flags.STREAM_FLAGS,
    "workers",
    "worker_options",
)


def define_run_flags() -> None:
    """Defines the flags that every launcher of runs has, once, at its top."""
    flags.DEFINE_string(
        "workdir",
        None,
        "Run folder. Running the same command again resumes the run.",
    )
    flags.mark_flag_as_required("workdir")
    flags.DEFINE_integer(
        "seed", 0, "Seed of the run.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_list(
        "plugins", [], "Python files, comma-separated, that register your own pieces."
    )
    flags.DEFINE_list(
        "observers",
        [],
        "Observers of your plug-ins, comma-separated, that see each line of "
        "metrics.jsonl as it is written.",
    )
    flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")
    flags.DEFINE_boolean(
        "cache", True, "Keep compiled programs for later processes; --nocache does not."
    )
    flags.DEFINE_float(
        "checkpoint_seconds",
        60.0,
        "Largest number of seconds between two checkpoints.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "checkpoint_steps",
        None,
        "Largest number of steps between two checkpoints; without it any number.",
        lower_bound=1,
    )
    flags.DEFINE_boolean(
        "allow_changed",
        False,
        "Resume a run although its flags or plug-ins changed; extends a finished "
        "training if --epochs was raised.",
    )
    device_flags.define()
    for name in ("seed", *_BESIDE_THE_RESULT, "plugins"):
        if name in flags.FLAGS:
            launch_help.describe(name, "run")


def from_flags(
    data_digest: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    extendable: Sequence[str] = (),
) -> workdir.Run:
    """Opens the run that the flags of ``define_run_flags`` name.

    Args:
      data_digest: digest of the data set.
      settings: resolved settings of the run, JSON values.
      data: what ``run.json`` tells about the data set, JSON values.
      extendable: settings that --allow_changed may raise in a finished run.

    Returns:
      The run, to be used in a ``with`` statement; see ``workdir.open_run``.
    """
    values = flags.FLAGS
    opened = team_run.open_run if team.joined() else workdir.open_run
    return opened(
        values.workdir,
        seed=values.seed,
        flags=run_flags(),
        default_flags=[
            name for name in run_flags() if flags.FLAGS[name].using_default_value
        ],
        settings=settings and {**settings, "norm_group": values.norm_group},
        plugins=values.plugins,
        data_digest=data_digest,
        data=data,
        extendable=extendable,
        checkpoint_seconds=values.checkpoint_seconds,
        checkpoint_steps=values.checkpoint_steps,
        allow_changed=values.allow_changed,
        observers=values.observers,
    )


def run_flags() -> dict[str, Any]:
    """Returns the launcher's own flags that decide a result, for run.json.

    Left out are workdir, seed, debug, the flags of checkpoints and of the compilation
    cache, and flags of absl and other packages.
    """
    modules = flags.FLAGS.flags_by_module_dict()
    return {
        flag.name: flag.value
        for module, defined in sorted(modules.items())
        if module == sys.argv[0] or module.partition(".")[0] in ("jnas", "experiments")
        for flag in defined
        if flag.name not in (*_BESIDE_THE_RESULT, "seed")
    }


def launch(main: Callable[[], Any], argv: Sequence[str] | None = None) -> None:
    """Runs a launcher's main, then exits.

    Wrong flags print one line and exit with status 2. An error that the user caused
    prints one line (with --debug its traceback) and exits with status 1, a signal one
    line with status 143 or 130. The workdir is checked first, then the files of
    --plugins are loaded, then main is called.

    Args:
      main: called without arguments once the flags are parsed.
      argv: command line; ``sys.argv`` when None.
    """
    app.run(lambda _: _guard(main), argv=argv, flags_parser=_parse)


def _guard(main: Callable[[], Any]) -> Any:
    debug = "debug" in flags.FLAGS and flags.FLAGS.debug
    try:
        with device_flags.use():
            return _prepared(main)
    except signals.Interrupted as stop:
        print(stop.message, file=sys.stderr)
        return _leave(stop.code)
    except team.Ended as end:
        return _leave(end.code)
    except _USER_ERRORS as error:
        if debug:
            raise
        print(_line(error), file=sys.stderr)
        team.report_error(_line(error))
        return 1
    except Exception as error:
        if team.joined():  # leaving the others may end this process without a word
            traceback.print_exc()
            team.report_error(_line(error))
        raise
    finally:
        team.leave()


def _prepared(main: Callable[[], Any]) -> Any:
    if "workdir" in flags.FLAGS and team.leads():
        folder.check(flags.FLAGS.workdir)
    if "cache" in flags.FLAGS:
        (compile_cache.enable if flags.FLAGS.cache else compile_cache.disable)()
    if "plugins" in flags.FLAGS:
        registry.load_plugins(flags.FLAGS.plugins)
    return main()


def _leave(status: int) -> None:
    """Ends the process as it is, once the others of its run have come here too.

    XLA's threads may still compile, and their teardown by an ordinary exit has been
    seen to crash. The run is closed by now.
    """
    team.leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if text and type(error) is not KeyError:
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses like absl, which says INFO and more; here it is WARNING by default."""
    quiet = flags.FLAGS["verbosity"].using_default_value
    if launch_help.asked(argv):
        _help(argv)
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:  # ValueError: --nodebug=1
        _refuse(_explain(error))
    _check_numbers()
    if len(rest) > 1:
        _refuse(f"arguments must be flags, got {rest[1]!r}. Write --name=value.")
    quiet = quiet and flags.FLAGS["verbosity"].using_default_value
    app.call_after_init(
        lambda: logging.set_verbosity(logging.WARNING) if quiet else None
    )
    return rest


def _help(argv: Sequence[str]) -> None:
    """Prints the help and exits; the other flags are read first, for their values."""
    others = [one for one in argv if one not in launch_help.WORDS]
    with contextlib.suppress(flags.Error, ValueError):  # as of a missing --workdir
        flags.FLAGS(others, known_only=True)
    if "plugins" in flags.FLAGS:
        with contextlib.suppress(ValueError):
            registry.load_plugins(flags.FLAGS["plugins"].value)
    names = [name for name in _own_names() if name in flags.FLAGS]
    doc = record.in_help(sys.modules["__main__"].__doc__ or "", sys.orig_argv)
    print(launch_help.text(doc, names))
    sys.exit(0)


def _check_numbers() -> None:
    """Refuses numbers that absl accepts: NaN, infinity, and integers beyond 32 bits."""
    for name in _own_names():
        value = flags.FLAGS[name].value
        rule = ""
        if isinstance(value, float) and not math.isfinite(value):
            rule = "be finite"
        if name != "seed" and isinstance(value, int) and abs(value) > _MAX_INTEGER:
            rule = f"be at most {_MAX_INTEGER}"
        if rule:
            _refuse(f"--{name} must {rule}, got {value}. Write --{name}=<number>.")


def _refuse(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(2)


def _own_names() -> list[str]:
    names = ["workdir", "seed", *run_flags(), *_BESIDE_THE_RESULT]
    return [name for name in names if name in flags.FLAGS]


def _explain(error: Exception) -> str:
    """Turns absl's message into "<name> must <rule>, got <value>. <what to do>."."""
    if isinstance(error, flags.UnrecognizedFlagError):
        guess = registry.nearest(error.flagname, _own_names())
        guess = re.sub(r"'(.*)'", r"--\1", guess)
        return (
            f"flag must be one that exists, got --{error.flagname}. "
            f"{guess}--help lists them."
        )
    match = re.match(r"flag --(\w+)=(.*?): (.*)", str(error), re.DOTALL)
    if not match or match[1] not in flags.FLAGS:
        return f"{error}. --help lists the flags."
    name, value, reason = match.groups()
    if value == "None":
        return f"--{name} must be given. Add --{name}=<{_kind(name)}>."
    parser = flags.FLAGS[name].parser
    accepted = getattr(parser, "enum_values", None)
    if accepted:
        guess = registry.nearest(value, accepted)
        return f"--{name} must be one of {', '.join(accepted)}, got {value!r}. {guess}"
    rule = f"be {parser.syntactic_help}" if parser.syntactic_help else reason
    if flags.FLAGS[name].boolean:
        rule = "be true or false"
    return f"--{name} must {rule}, got {value!r}. Write --{name}=<{_kind(name)}>."


def _kind(name: str) -> str:
    kinds = {"workdir": "folder", "int": "number", "float": "number"}
    return kinds.get(name) or kinds.get(flags.FLAGS[name].flag_type(), "value")
