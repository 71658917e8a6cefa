"""What the README shows is run: its Python blocks here, its commands' flags too."""

import dataclasses
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from jnas import methods, registry

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.replace("\\\n", " ").splitlines()
    if "experiments/" in line
]


def test_readme_has_its_two_lines():
    """The set-up is what CI runs and what a newcomer types."""
    assert (
        "pip install -e . && python experiments/quickstart.py --workdir=runs/first"
        in README
    )
    assert "pip install -e '.[dev]' && pytest" in README
    assert (
        "pip install --quiet -e '.[dev]' && pytest"
        in (ROOT / ".ci" / "run").read_text()
    )


@pytest.mark.parametrize("block", [b for name, b in BLOCKS if name == "python"])
def test_python_blocks_run(block, tmp_path, monkeypatch):
    """Each block runs by itself, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(block)
    spec = importlib.util.spec_from_file_location("readme_block", script)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_flags_that_exist(command):
    """Every flag of every shown command is one of its launcher's."""
    launcher = re.search(r"experiments/(\w+)\.py", command)[1]
    text = (ROOT / "experiments" / f"{launcher}.py").read_text()
    defined = set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', text))
    if "define_run_flags()" in text:
        defined |= {"workdir", "seed", "plugins", "debug"}
    if "define_device_flag()" in text:
        defined |= {"num_devices"}
    if "define_method_flags()" in text:
        fields = {field.name for field in dataclasses.fields(methods.Method)}
        defined |= {"method"} | fields - {"source", "stages"}
    used = set(re.findall(r"--(\w+)", command.split(".py", 1)[1]))
    assert used <= defined | {"help"}, used - defined


def rows_of(text):
    """Controller -> (mean, sd) of each metric, from the Markdown of a comparison."""
    found = {}
    for line in text.splitlines():
        pairs = re.findall(r"([\d.]+) ± ([\d.]+)", line)
        if line.startswith("| ") and pairs:
            name = line.split("|")[1].strip()
            found[name] = [tuple(map(float, pair)) for pair in pairs]
    return found


def test_the_comparison_is_what_its_command_prints(tmp_path):
    """The table in the README, by the command above it."""
    command = next(c for c in COMMANDS if "--controllers" in c)
    flags = [w for w in command.split(".py", 1)[1].split() if "--workdir" not in w]
    line = [sys.executable, str(ROOT / "experiments" / "compare.py"), *flags]
    done = subprocess.run(
        [*line, f"--workdir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    section = README.split("## Comparing honestly")[1].split("\n## ")[0]
    printed, shown = rows_of(done.stdout), rows_of(section)
    assert list(printed) == list(shown) and "random_search" in shown
    for name, pairs in shown.items():
        # another machine's exponentials may turn a few of REINFORCE's draws
        for (mean, sd), (wanted, wanted_sd) in zip(pairs, printed[name], strict=True):
            assert abs(mean - wanted) < 0.03 and abs(sd - wanted_sd) < 0.03, name


def test_the_comparison_of_methods_names_them_all():
    """Its table, which takes half an hour to make, has a row for each method."""
    section = README.split("### Judged against ground truth")[1].split("\n## ")[0]
    assert list(rows_of(section)) == [*registry.METHODS, "random_search"]
