"""What the README shows is run: its Python blocks here, its commands' flags too."""

import importlib.util
import pathlib
import re

import pytest

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
    used = set(re.findall(r"--(\w+)", command.split(".py", 1)[1]))
    assert used <= defined | {"help"}, used - defined
