"""Tests of a comparison that is broken off: at its only step, and at its last page."""

import json

import pytest

from jnas import report, run
from jnas.run import phase
from jnas.studies import compare_controllers


@pytest.fixture(scope="module")
def plan():
    """The smallest comparison."""
    settings = compare_controllers.CompareSettings(
        controllers=("random_search",),
        objective="table:digits201",
        num_runs=2,
        budget_evaluations=3,
        budget_seconds=None,
        signal=("valid_12",),
        report=("valid_12", "test_12"),
    )
    return compare_controllers.prepare(settings)


def go(workdir, plan):
    """Opens the run and compares."""
    with run.open_run(workdir) as r:
        compare_controllers.compare(r, plan)


def test_broken_off_between_the_step_and_the_end_of_a_phase(
    plan, tmp_path, monkeypatch
):
    """The step is saved and its result is not: the phase is done again."""
    with monkeypatch.context() as patch:
        patch.setattr(phase.Phase, "end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(tmp_path, plan)
    assert (tmp_path / "checkpoints" / "1").is_dir()
    go(tmp_path, plan)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["random_search"]["evaluations"] == 3
    assert [line["step"] for line in run.read_metrics(tmp_path)] == [1]


def test_broken_off_before_its_page_it_is_not_finished(plan, tmp_path, monkeypatch):
    """A finished run is not touched again, so the page comes first."""
    with monkeypatch.context() as patch:
        patch.setattr(report, "write_report", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(tmp_path, plan)
    assert not (tmp_path / "result.json").exists()
    go(tmp_path, plan)
    assert (tmp_path / "report.html").stat().st_size > 0
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
