"""Scores of members by many workers: the numbers of one, whoever computes them.

The unit of work is a member: (key, encoding i32[G]) -> scores f32[M], a pure function
that each worker compiles for itself. What a member scores does not depend on who scores
it, when, or how often it was tried; a worker that dies costs its member's time alone.
A journal keeps each score as it comes, so that a killed run loses the members that were
under way, not its round.
"""

import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jnas import directions, types

JOURNAL = "members.jsonl"


class Task(NamedTuple):
    """A member that is to be scored.

    Attributes:
      key: u32[...], ``jax.random.key_data`` of its PRNG key.
      encoding: i32[G].
    """

    key: np.ndarray
    encoding: np.ndarray

    @property
    def name(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Key and encoding, by which a journal knows the member."""
        return tuple(self.key.tolist()), tuple(self.encoding.tolist())


class Pool(Protocol):
    """Workers that score members side by side.

    Attributes:
      num_workers: number of members that are scored at a time.
    """

    num_workers: int

    def submit(self, task: Task) -> futures.Future:
        """Returns the scores f32[M] to come."""
        ...


def compiled(member: Callable) -> Callable[[Task], np.ndarray]:
    """Compiles a member's score, as every worker does.

    Args:
      member: (key, encoding i32[G]) -> scores f32[M].
    """
    jitted = jax.jit(member)

    def score(task):
        key = jax.random.wrap_key_data(jnp.asarray(task.key))
        return np.asarray(jitted(key, jnp.asarray(task.encoding)), np.float32)

    return score


class Journal:
    """A file of scores, one fsynced line a member; it only grows.

    Members are pure, so that it is a cache: no bit depends on it.
    """

    def __init__(self, path: pathlib.Path | None, of: Any = None):
        """Reads what an earlier process has left.

        Args:
          path: the file; None keeps scores in memory alone.
          of: JSON value of all that scores depend on beside key and encoding; lines of
            other values are not read.
        """
        text = json.dumps(of, sort_keys=True)
        self._of = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._path, self._lock = path, threading.Lock()
        self.known: dict[tuple, np.ndarray] = {}
        self._torn = False
        if path is not None and path.exists():
            data = path.read_bytes()
            self._torn = bool(data) and not data.endswith(b"\n")
            for line in data.split(b"\n"):
                self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            one = json.loads(line)
            name = tuple(one["key"]), tuple(one["encoding"])
            scores = np.array(one["scores"], np.float32)
        except (ValueError, KeyError, TypeError):  # torn by a kill, or no line of ours
            return
        if one.get("of") == self._of:
            self.known[name] = scores

    def add(self, task: Task, scores: np.ndarray) -> None:
        """Keeps the scores of a member, on disk when the call returns.

        Args:
          task: the member.
          scores: f32[M].
        """
        line = {
            "of": self._of,
            "key": task.key.tolist(),
            "encoding": task.encoding.tolist(),
            "scores": [float(one) for one in scores],
        }
        with self._lock:
            self.known[task.name] = scores
            if self._path is None:
                return
            with self._path.open("ab") as file:
                # after a torn line, a new one: else this one would be lost with it
                file.write(b"\n" * self._torn + f"{json.dumps(line)}\n".encode())
                self._torn = False
                file.flush()
                os.fsync(file.fileno())


def collect(pool: Pool, journal: Journal, tasks: Sequence[Task]) -> np.ndarray:
    """Returns the scores of members, in order, each scored once.

    Args:
      pool: scores what the journal does not know.
      journal: gets every score as it comes.
      tasks: N members.

    Returns:
      f32[N, M].
    """
    missing = {t.name: t for t in tasks if t.name not in journal.known}
    waiting = {pool.submit(task): task for task in missing.values()}
    added = set()

    def add(one):
        journal.add(waiting[one], np.asarray(one.result(), np.float32))
        added.add(one)

    try:
        for one in futures.as_completed(waiting):
            add(one)
    finally:  # of an error too, what others have scored is kept
        for one in waiting.keys() - added:
            if not one.cancel() and one.done() and one.exception() is None:
                add(one)
    return np.stack([journal.known[task.name] for task in tasks])


def on_workers(
    pool: Pool, journal: Journal, *metrics: directions.Metric
) -> types.Objective:
    """Builds the objective that hands its members to workers; not jittable.

    Args:
      pool: the workers; member i is scored with the i-th key that is split from the
        objective's.
      journal: of this objective alone.
      *metrics: of its columns.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, M].
    """

    def objective(key, encodings):
        keys = np.asarray(jax.random.key_data(jax.random.split(key, len(encodings))))
        rows = zip(keys, np.asarray(encodings), strict=True)
        tasks = [Task(*row) for row in rows]
        return jnp.asarray(collect(pool, journal, tasks))

    objective.metrics, objective.jittable = metrics, False
    objective.num_workers = pool.num_workers
    return objective


def member_of(objective: types.Objective) -> Callable:
    """Returns the score of one member of an objective, as a pure function.

    Args:
      objective: with a function ``member``, or any other, which then scores a
        population of one; one that draws from its key needs ``member`` for the numbers
        of a whole population.

    Returns:
      (key, encoding i32[G]) -> scores f32[M].
    """
    own = getattr(objective, "member", None)
    return own or (lambda key, encoding: objective(key, encoding[None])[0])
