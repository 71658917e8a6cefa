"""Tests of --num_devices, --norm_group and --deterministic."""

import json
import os
import subprocess
import sys

import pytest

LAUNCHER = """
import json, os
import jax
from absl import flags
from jnas import run
from jnas.run import record
from jnas.training import placement
run.define_run_flags()

def main():
    with run.from_flags(settings={"a": 1}) as r:
        print(json.dumps({
            "devices": placement.num_devices(), "layout": placement.layout(4),
            "record": r.record["device"], "settings": r.record["settings"],
            "xla": os.environ.get("XLA_FLAGS", ""), "flags": r.record["flags"],
        }))

if __name__ == "__main__":
    run.launch(main)
"""
FORCED = "--xla_force_host_platform_device_count=4"


def launch(tmp_path, *flags, **environment):
    """Runs the launcher; returns (status, JSON or the line of an error)."""
    script = tmp_path / "launcher.py"
    script.write_text(LAUNCHER)
    line = [sys.executable, str(script), f"--workdir={tmp_path / 'run'}", *flags]
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | environment
    env["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    if done.returncode:
        return done.returncode, done.stderr.strip()
    return 0, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("flags", "environment", "devices", "layout"),
    [
        ([], {}, 1, {}),
        (["--num_devices=1"], {}, 1, {}),
        (["--num_devices=2"], {}, 2, {"seeds": 2, "data": 1}),
        (["--num_devices=6"], {}, 6, {"seeds": 2, "data": 3}),
        ([], {"XLA_FLAGS": FORCED}, 4, {"seeds": 4, "data": 1}),
        (["--num_devices=4"], {"XLA_FLAGS": FORCED}, 4, {"seeds": 4, "data": 1}),
        (
            ["--num_devices=8", "--norm_group=device"],
            {},
            8,
            {"seeds": 4, "norm": 2, "data": 1},
        ),
    ],
)
def test_devices(tmp_path, flags, environment, devices, layout):
    """As many as the flag or the environment says; else one CPU device."""
    status, found = launch(tmp_path, *flags, **environment)
    assert status == 0, found
    assert found["devices"] == devices and found["layout"] == layout
    assert found["record"] == f"{devices} x cpu (cpu)"
    group = "device" if "--norm_group=device" in flags else "global"
    assert found["settings"] == {"a": 1, "norm_group": group}
    # another number of devices may resume a run; another norm group may not
    assert "num_devices" not in found["flags"] and found["flags"]["norm_group"] == group


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (
            ["--num_devices=2"],
            {"XLA_FLAGS": FORCED},
            "num_devices must be the 4 CPU devices that XLA_FLAGS asks for, got 2. "
            "Remove one of the two.",
        ),
        (
            ["--num_devices=2"],
            {"JAX_NUM_CPU_DEVICES": "3"},
            "num_devices must be the 3 CPU devices that JAX_NUM_CPU_DEVICES asks for, "
            "got 2. Remove one of the two.",
        ),
    ],
)
def test_a_contradiction_is_refused(tmp_path, flags, environment, message):
    """In one line; before, the flag won without a word."""
    status, said = launch(tmp_path, *flags, **environment)
    assert status == 1 and said == message


def test_deterministic_kernels(tmp_path):
    """The flags of XLA are set before it reads them, after the user's own."""
    status, found = launch(tmp_path, "--deterministic", XLA_FLAGS=FORCED)
    assert status == 0, found
    own, *more = found["xla"].split()
    assert own == FORCED and found["devices"] == 4
    assert more == ["--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0"]
    assert "deterministic" not in found["flags"]


def test_another_norm_group_is_refused(tmp_path):
    """A run that was begun with one is not resumed with the other."""
    assert launch(tmp_path)[0] == 0
    (tmp_path / "run" / "checkpoints" / "1").mkdir(parents=True)
    status, said = launch(tmp_path, "--norm_group=device")
    assert status == 1
    assert "norm_group: 'global' -> 'device'" in said
