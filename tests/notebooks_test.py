"""The notebooks run from top to bottom, and are committed without output."""

import json
import pathlib
import re
import resource
import time

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 300  # that a person waits at most; of two cores without other work
SPEC = re.compile(r"application/vnd\.vegalite\.v\d+\+json")
# Altair shows a chart as a page with its specification; here it is the latter alone
RENDERER = """
import altair
show = lambda spec, **_: {"application/vnd.vegalite.v6+json": spec}
altair.renderers.register("specification", show)
altair.renderers.enable("specification");
"""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    """An empty list would test nothing."""
    assert len(NOTEBOOKS) == 3


@pytest.mark.slow
@each
def test_runs(path, tmp_path, users_environment, capsys):
    """Every cell runs in a fresh kernel, in time and without a warning of ours.

    Each chart is shown, and has data.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(RENDERER))
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}
    )
    began, before = time.monotonic(), cpu_seconds()
    client.execute(env=users_environment)
    wall, cpu = time.monotonic() - began, cpu_seconds() - before
    with capsys.disabled():
        print(f"\n{path.name}: {wall:.0f} s, {cpu:.0f} s of CPU", flush=True)
    assert cpu < SECONDS  # not wall: other workers share the cores
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    charts = [cell for cell in code if "report.charts." in cell.source]
    assert len(charts) >= 2
    for cell in charts:
        rows = shown_rows(cell)
        assert len(rows) == 1 and rows[0] > 1, cell.source
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error"
        if output.get("name") == "stderr":
            assert not re.search(r"warning|^W\d{4} ", output.text, re.I | re.M)


def cpu_seconds() -> float:
    """Returns what ended child processes took, kernels among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shown_rows(cell) -> list[int]:
    """Returns how many rows each chart has that a cell shows."""
    specs = [
        value
        for output in cell.outputs
        for kind, value in output.get("data", {}).items()
        if SPEC.fullmatch(kind)
    ]
    return [max(map(len, spec["datasets"].values())) for spec in specs]


@each
def test_only_the_first_code_cell_installs_and_only_where_jnas_is_missing(path):
    """Colab has no jnas; CI installs nothing."""
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    installing = [number for number, text in enumerate(code) if "pip" in text]
    assert installing == [0]
    *first, guard, command = code[0].splitlines()
    assert 'SOURCE = ".."' in first and "://" not in "".join(first)
    assert guard == 'if importlib.util.find_spec("jnas") is None:'
    assert command == "    %pip install --quiet {SOURCE}"


@each
def test_is_a_sound_file_without_output(path):
    """What is in the file is what a person wrote."""
    nbformat.validate(nbformat.read(path, as_version=4))
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")
