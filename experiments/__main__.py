"""The ``jnas`` command: ``jnas search --workdir=runs/first`` runs search.py.

    jnas
    jnas search --help --method=pcdarts

Each launcher of this folder is a command with the same flags; without a command, all of
them are listed. From a checkout, ``python experiments search ...`` does the same.
"""

import ast
import importlib.util
import pathlib
import runpy
import sys

from jnas import registry

FOLDER = pathlib.Path(__file__).parent
NEEDS = {  # launchers of a package that a wheel leaves out
    "benchmark": "jnas.bench",
    "benchmark_discrete": "jnas.bench",
    "benchmark_recipes": "jnas.bench",
    "endurance": "jnas.endurance",
}


def launchers():
    """Returns name -> path of every launcher, in alphabetical order."""
    return {
        path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.stem[0] != "_"
    }


def listing():
    """Returns a line for each launcher, and how to call one."""
    rows = [f"  {name:20}{summary(path)}" for name, path in launchers().items()]
    head = ["usage: jnas COMMAND [--flag=value ...]", ""]
    return "\n".join([*head, *rows, "", "jnas COMMAND --help lists the flags."])


def summary(path):
    """Returns the first line of a launcher's docstring."""
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]


def refusal(name):
    """Returns why a launcher cannot run, in one line, or ""."""
    if name not in launchers():
        return (
            f"command must be one of {', '.join(launchers())}, got {name!r}. "
            f"{registry.nearest(name, launchers())}".rstrip()
        )
    package = NEEDS.get(name)
    if package and importlib.util.find_spec(package) is None:
        return (
            f"{name} must be run from a checkout, got an installed jnas, which leaves "
            f"{package} out. Clone the repository and run pip install -e . in it."
        )
    return ""


def main():
    """Runs the launcher that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h", "help"):
        print(listing())
        return 0
    name = sys.argv[1]
    reason = refusal(name)
    if reason:
        print(reason, file=sys.stderr)
        return 2
    sys.argv = [str(launchers()[name]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
