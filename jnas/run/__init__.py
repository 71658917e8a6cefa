"""Runs that survive and explain themselves: workdir, checkpoints, metrics, progress."""

from jnas.run.device_flags import define_processes, define_streaming
from jnas.run.files import RunError
from jnas.run.launch import (
    define_run_flags,
    from_flags,
    launch,
    run_flags,
)
from jnas.run.metrics import Found
from jnas.run.metrics import read as read_metrics
from jnas.run.phase import Phase
from jnas.run.signals import Interrupted
from jnas.run.workdir import Run, open_run

__all__ = [
    "Found",
    "Interrupted",
    "Phase",
    "Run",
    "RunError",
    "define_processes",
    "define_streaming",
    "define_run_flags",
    "from_flags",
    "launch",
    "open_run",
    "read_metrics",
    "run_flags",
]
