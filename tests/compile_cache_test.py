"""Tests of the compilation cache: hits, equal results, and nothing that stops a run."""

import json
import os
import pathlib
import subprocess
import sys

import forks
import jax
import pytest

from jnas.run import compile_cache

# Launches a run that compiles one program; prints hits, the result's bytes, the status.
DRIVER = """
import json, jax, jax.numpy as jnp
from absl import flags
from jnas import run

run.define_run_flags()
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))

def main():
    with run.open_run(flags.FLAGS.workdir, flags=run.run_flags()) as r:
        again = r.finished is not None
        x = jax.random.normal(jax.random.key(0), (64, 64))
        y = jax.jit(lambda x: jnp.tanh(x @ x).sum(0))(x)
        if not again:
            r.finish({"sum": float(y.sum())})
    hits = events.count("/jax/compilation_cache/cache_hits")
    print(json.dumps([hits, bytes(jax.device_get(y)).hex(), again]))

run.launch(main)
"""


def launch(workdir, caches, *flags):
    """Runs the driver in a fork, which has compiled nothing before."""
    script = workdir.parent / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "XDG_CACHE_HOME": str(caches)}
    line = str(script.with_suffix("")), f"--workdir={workdir}", *flags
    done = forks.launch(*line, env=environment, limit=120)
    assert done.status == 0, done.err
    return *json.loads(done.out), done.err


def start(workdir, caches, *flags, **variables):
    """Runs the driver in a process of its own; every program is worth keeping."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(caches),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, f"--workdir={workdir}", *flags],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def entries(folder):
    """Names what is kept in a folder."""
    return sorted(path.name for path in folder.rglob("*-cache"))


def test_a_second_process_finds_the_programs_and_the_same_bits(tmp_path):
    """Hits instead of new entries; --nocache hits nothing and still resumes."""
    hits, result, _, error = launch(tmp_path / "a", tmp_path / "caches")
    kept = entries(tmp_path / "caches" / "jnas" / "xla")
    assert hits == 0 and kept and error == ""
    hits, again, _, error = launch(tmp_path / "b", tmp_path / "caches")
    assert hits == len(kept) and again == result and error == ""
    assert entries(tmp_path / "caches") == kept
    hits, cold, finished, _ = launch(tmp_path / "a", tmp_path / "caches", "--nocache")
    assert (hits, cold, finished) == (0, result, True)
    for entry in (tmp_path / "caches").rglob("*-cache"):
        entry.write_bytes(entry.read_bytes()[:-20])
    hits, damaged, *_ = launch(tmp_path / "c", tmp_path / "caches")
    assert (hits, damaged) == (0, result)


def test_a_folder_that_jax_was_given_is_used(tmp_path):
    """JAX_COMPILATION_CACHE_DIR wins, but not over --nocache."""
    given, caches = tmp_path / "given", tmp_path / "caches"
    variables = {"JAX_COMPILATION_CACHE_DIR": str(given)}
    start(tmp_path / "a", caches, "--nocache", **variables)
    assert not entries(tmp_path)
    start(tmp_path / "a", caches, **variables)
    assert entries(given) and not caches.exists()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    """One line of warning, and the run goes on."""
    (tmp_path / "file").touch()
    _, _, _, error = launch(tmp_path / "a", tmp_path / "file")
    (line,) = error.splitlines()
    assert "compiled programs are not kept" in line and str(tmp_path / "file") in line


@pytest.mark.parametrize(
    ("platform", "asked", "expected"),
    [
        ("linux", "/c", "/c"),
        ("linux", "", "/home/me/.cache"),
        ("darwin", "", "/home/me/Library/Caches"),
        ("darwin", "/c", "/c"),
        ("win32", "", "/local"),
    ],
)
def test_the_folder_is_the_systems(monkeypatch, platform, asked, expected):
    """XDG_CACHE_HOME, or what the system has for caches."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(pathlib.Path, "home", lambda: pathlib.Path("/home/me"))
    monkeypatch.setenv("XDG_CACHE_HOME", asked)
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert compile_cache.folder() == pathlib.Path(expected) / "jnas" / "xla"


def test_prune_removes_what_was_used_longest_ago(tmp_path):
    """By the later of reading and writing; other files stay."""
    for name, read, written in (("a", 5, 1), ("b", 2, 2), ("c", 3, 3)):
        entry = tmp_path / f"{name}-cache"
        entry.write_bytes(b"x" * 10)
        os.utime(entry, (read, written))
    (tmp_path / "other").write_bytes(b"x" * 100)
    compile_cache.prune(tmp_path, 20)
    assert entries(tmp_path) == ["a-cache", "c-cache"]
    compile_cache.prune(tmp_path, 19)
    assert entries(tmp_path) == ["a-cache"] and (tmp_path / "other").exists()


def test_enable_leaves_what_jax_was_given(monkeypatch):
    """Nothing is looked at, made or set."""
    monkeypatch.setattr(compile_cache, "folder", lambda: pytest.fail("looked"))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", "given")
    try:
        compile_cache.enable()
        assert jax.config.jax_compilation_cache_dir == "given"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
