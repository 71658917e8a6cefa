"""Measures the speed of a loop: how many steps a call should run, and the time left."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jnas.run import compiles

STEPS = "steps"  # the activity that runs a phase's own steps
_KEPT = 0.97  # weight of older calls at each new one: about the last 30 count


class Pace:
    """Seconds per step, measured over the last few calls."""

    def __init__(self):
        """Starts without measurements."""
        self._at: float | None = None
        self._recent: deque[float] = deque(maxlen=5)
        self._suggested = 1

    def observe(self, num_steps: int) -> None:
        """Records the end of a call; the first, which compiles, is not counted."""
        now = time.monotonic()
        if self._at is not None:
            self._recent.append((now - self._at) / num_steps)
        self._at = now

    def suggest(self, seconds: float) -> int:
        """Returns how many steps take about ``seconds``; 1 before any is timed."""
        if not self._recent:
            return 1
        # take the fastest recent call: slower ones also compiled, saved or evaluated
        fitting = max(1, int(seconds / max(min(self._recent), 1e-7)))
        if not self._suggested / 2 < fitting < self._suggested * 2:
            self._suggested = fitting
        return self._suggested


class Span(NamedTuple):
    """Consecutive steps of one speed.

    Attributes:
      num_steps: number of steps.
      cost: seconds of a step in units of another span's, until it is measured.
      activity: what runs them.
    """

    num_steps: int
    cost: float = 1.0
    activity: str = STEPS


class Plan(NamedTuple):
    """What a phase runs, as far as it is known before it runs.

    Attributes:
      spans: its steps, in order; () means steps of one speed.
      events: activity -> number of steps between two of them.
      after: activities after the last step.
    """

    spans: tuple[Span, ...] = ()
    events: Mapping[str, int] = {}
    after: tuple[str, ...] = ()


class _Mean:
    """A mean in which newer values count more."""

    def __init__(self):
        self.total = self.count = 0.0

    def add(self, total: float, count: float = 1.0) -> None:
        """Adds ``count`` values whose sum is ``total``."""
        self.total = _KEPT * self.total + total
        self.count = _KEPT * self.count + count

    @property
    def value(self) -> float | None:
        """The mean; None before any value."""
        return self.total / self.count if self.count else None


class Forecast:
    """Predicts how long the rest of a phase takes.

    Time spent in compiling is left out of the speeds, and that of the first activity is
    the guess of what another one's will take.
    """

    def __init__(
        self,
        num_steps: int,
        step: int,
        plan: Plan,
        compiled: Callable[[], float] | None = None,
    ):
        """Begins at a step.

        Args:
          num_steps: number of steps of the phase.
          step: number of finished steps.
          plan: what runs.
          compiled: () -> seconds spent in compiling so far; None asks JAX.
        """
        self._spans = plan.spans or (Span(num_steps),)
        self._plan, self._step, self._num_steps = plan, step, num_steps
        self._rates = [_Mean() for _ in self._spans]
        self._means: dict[str, _Mean] = {}
        self._compiled = compiled or compiles.listener().seconds
        self._first: dict[str, float] = {}  # activity -> seconds of its compilation
        self._now, self._since, self._before = "", time.monotonic(), self._compiled()
        self._spent = 0.0  # in steps and between them, since the last ``observe``
        self._passed: list[str] = []  # activities since then

    def begins(self, activity: str) -> bool:
        """Records that an activity begins, and the one before has ended.

        Args:
          activity: STEPS, an event of the plan, or another short name; "" for none.

        Returns:
          Whether it is the first time, which compiles.
        """
        now, compiled = time.monotonic(), self._compiled()
        name, own = self._now, compiled - self._before
        seconds = max(0.0, now - self._since - own)
        if name in self._plan.events:
            self._means.setdefault(name, _Mean()).add(seconds)
        elif self._first or name:  # not what came before the first activity
            self._spent += seconds
        self._first.setdefault(name, own)
        self._passed.append(name)
        self._now, self._since, self._before = activity, now, compiled
        return bool(activity) and activity not in self._first

    def observe(self, step: int) -> None:
        """Records that the phase has come to a step."""
        self.begins("")
        span = self._span_of(self._step)
        if self._spent:  # a loop that names no activity has no first call
            self._rates[span].add(self._spent, step - self._step)
        self._spent, self._passed, self._step = 0.0, [], step

    def rate(self) -> float | None:
        """Returns steps per second at present; None before a call has ended."""
        value = self._rates[self._span_of(max(0, self._step - 1))].value
        return 1 / max(value, 1e-9) if value is not None else None

    def left(self) -> float | None:
        """Returns the seconds until the end of the phase; None before a call has ended.

        They count from the last ``begins`` or ``observe``.
        """
        known = [i for i, rate in enumerate(self._rates) if rate.value is not None]
        if not known:
            return None
        unit = self._rates[known[-1]].value / self._spans[known[-1]].cost
        seconds, begin = 0.0, 0
        for span, rate in zip(self._spans, self._rates, strict=True):
            end = begin + span.num_steps
            remaining = max(0, end - max(begin, self._step))
            value = span.cost * unit if rate.value is None else rate.value
            seconds, begin = seconds + remaining * value, end
            if remaining and span.activity not in self._first:
                seconds += self._guess
        # steps that have run since the last ``observe`` are not counted yet
        seconds -= min(seconds, self._spent)
        return seconds + self._left_of_events()

    @property
    def _guess(self) -> float:
        """Seconds of a compilation that has not run yet."""
        return self._first.get(self._spans[0].activity, 0.0)

    def _left_of_events(self) -> float:
        seconds = 0.0
        for name, every in self._plan.events.items():
            count = self._num_steps // every - self._step // every
            count = max(0, count - self._passed.count(name))
            mean = self._means[name].value if name in self._means else 0.0
            seconds += count * mean
            if count and name not in self._first:
                seconds += self._guess
        new = [name for name in self._plan.after if name not in self._first]
        return seconds + self._guess * len(new) / 3  # evaluations have no gradient

    def _span_of(self, step: int) -> int:
        end = 0
        for number, span in enumerate(self._spans):
            end += span.num_steps
            if step < end:
                return number
        return len(self._spans) - 1
