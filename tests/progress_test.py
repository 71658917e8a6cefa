"""Tests of the progress line, on a terminal and elsewhere."""

import doctest
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time

import pytest

from jnas.run import progress


class Clock:
    """A clock that is moved by hand, and waits until the thread has read it."""

    def __init__(self, patch):
        """Takes the place of the module's clock, which is read each millisecond."""
        self.now, self._looks = 100.0, threading.Semaphore(0)
        patch.setattr(progress, "time", self)
        patch.setattr(progress, "_TICK", 1e-3)

    def monotonic(self):
        """Returns the time."""
        if threading.current_thread().name == "jnas-progress":
            self._looks.release()
        return self.now

    def advance(self, seconds):
        """Goes on by eighths of a second; the thread sees each."""
        for _ in range(round(seconds * 8)):
            self.now += 0.125
            while self._looks.acquire(blocking=False):
                pass
            for _ in range(3):  # a look may have begun before, and printing looks twice
                assert self._looks.acquire(timeout=60)


@pytest.fixture
def quick(monkeypatch):
    """Ten times as fast a clock: at most one line in 0.5 s, at least one in 1 s."""
    monkeypatch.setattr(progress, "_TICK", 0.02)
    monkeypatch.setattr(progress, "_QUIET", 0.5)
    monkeypatch.setattr(progress, "_SILENT", 1.0)


def test_elsewhere_plain_lines_few_but_never_silent(monkeypatch):
    """The first at once, no carriage returns; then by the clock, whoever is busy."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(progress, "_QUIET", 0.5)
    monkeypatch.setattr(progress, "_SILENT", 1.0)
    shown = progress.Progress(stream)
    shown.phase("search", 100, activity="compiling")
    assert stream.getvalue().count("\n") == 1
    clock.advance(2.25)  # as while XLA compiles: nobody calls update
    assert stream.getvalue().count("\n") == 3  # at 0, 1 and 2 s
    for step in range(1, 51):
        shown.update(step, {"loss": 1.0 / step}, "conv")
        clock.advance(0.125)
    shown.close()
    # from 2.5 to 8.5 s, a line each 0.5 s
    assert stream.getvalue().count("\n") == 3 + 13
    lines = stream.getvalue().split("\n")
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert lines[0] == "search 0/100 | compiling | 0:00 elapsed"
    assert lines[2] == "search 0/100 | compiling | 0:02 elapsed"
    assert re.fullmatch(
        r"search \d+/100 \| loss 0\.\d+ \| [\d.]+ steps/s \| 0:0\d left \| "
        r"0:0\d elapsed \| best conv",
        lines[-2],
    )


def chunks(screen):
    """Yields what a terminal was sent; its end is an error on Linux."""
    try:
        while chunk := screen.read(1 << 16):
            yield chunk
    except OSError:
        return


def test_a_terminal_has_one_line_rewritten_within_its_width():
    """It never wraps; what is said stays above it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        shown = progress.Progress(stream)
        shown.phase("search", 100)
        shown.update(1, {"loss": 0.123456, "accuracy": 0.5}, "sep_conv_3x3 " * 9)
        time.sleep(0.6)
        shown.say("a line that stays")
        shown.close()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        text = b"".join(chunks(screen)).decode()
    assert text.startswith("\rsearch 0/100 | 0:00 elapsed\x1b[K\rsearch 1/100 | loss")
    assert "\r\x1b[Ka line that stays\r\n" in text
    shown_lines = re.split(r"[\r\n]+|\x1b\[K", text)
    assert max(map(len, shown_lines)) == 39
    assert text.endswith("\n")


def test_nothing_before_a_phase_nor_after_its_end(quick):
    """A launcher that only prints a finished run's result stays quiet."""
    stream = io.StringIO()
    shown = progress.Progress(stream)
    time.sleep(0.1)
    assert stream.getvalue() == ""
    shown.phase("search", 1)
    shown.done("search: done")
    time.sleep(1.2)
    shown.close()
    assert stream.getvalue() == "search 0/1 | 0:00 elapsed\nsearch: done\n"


def test_a_stream_that_went_away_stops_no_run():
    """As when the reader of a pipe ends."""
    stream = io.StringIO()
    shown = progress.Progress(stream)
    stream.close()
    shown.phase("search", 1)
    shown.update(1, {})
    shown.close()


def test_an_update_costs_next_to_nothing():
    """Printing is the other thread's; below 1 % of a step of 10 ms."""
    shown = progress.Progress(io.StringIO())
    shown.phase("search", 10_000)
    began = time.process_time()
    for step in range(10_000):
        shown.update(step, {"loss": 0.5})
    assert (time.process_time() - began) / 10_000 < 1e-4
    shown.close()


def test_examples():
    """The docstrings' examples hold."""
    assert doctest.testmod(progress).failed == 0
