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
    """A minute of a log is a second."""
    monkeypatch.setattr(progress, "_TICK", 0.02)
    monkeypatch.setattr(progress, "_FIRST", 0.5)
    monkeypatch.setattr(progress, "_EVERY", 1.0)


def test_a_log_gets_a_short_line_a_minute_and_a_cell_when_it_changed(monkeypatch):
    """The first at once, the second after 10 s; no carriage returns."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(progress, "_FIRST", 1.0)
    monkeypatch.setattr(progress, "_EVERY", 2.0)
    shown = progress.Progress(stream)
    shown.phase("search", 100, activity="compiling")
    assert stream.getvalue().count("\n") == 1
    clock.advance(3.25)  # as while XLA compiles: nobody calls update
    lines = stream.getvalue().splitlines()
    assert lines == [
        "search 0/100 (0 %) | compiling | 0:00 elapsed",
        "search 0/100 (0 %) | compiling | 0:01 elapsed",
        "search 0/100 (0 %) | compiling | 0:03 elapsed",
    ]
    for step in range(1, 51):
        cell = "conv" if step < 40 else "pool"
        shown.update(
            step, {"loss": 1.0 / step}, left=9.0, rate=8.0, best="0.5", cell=cell
        )
        clock.advance(0.125)
    shown.close()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    lines = text.splitlines()[3:]
    assert [line for line in lines if "cell" in line] == [
        "search: best cell so far: conv",
        "search: best cell so far: pool",
    ]
    plain = [line for line in lines if "cell" not in line]
    assert len(plain) == 3  # at 5, 7 and 9 s, of 3.25 to 9.5 s
    assert re.fullmatch(
        r"search \d+/100 \(\d+ %\) \| loss 0\.\d+ \| 8 steps/s \| 0:09 left \| "
        r"0:0\d elapsed \| best 0.5",
        plain[-1],
    )


def test_the_time_left_counts_down_except_while_something_compiles(monkeypatch):
    """A compilation of unknown length is no progress."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(progress, "_FIRST", 1.0)
    monkeypatch.setattr(progress, "_EVERY", 1.0)
    shown = progress.Progress(stream)
    shown.phase("search", 100)
    shown.update(1, {}, left=60.0)
    clock.advance(2.125)
    shown.activity("compiling (watch)", left=50.0, compiles=True)
    clock.advance(2.125)
    shown.close()
    left = re.findall(r"(\S+) left", stream.getvalue())
    assert left == ["0:59", "0:58", "0:50", "0:50"]
    assert "| compiling (watch) | 0:50 left |" in stream.getvalue()


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
        values = {"loss": 0.123456, "accuracy": 0.5}
        shown.update(1, values, best="0.5", cell="sep_conv_3x3 " * 9)
        time.sleep(0.6)
        shown.say("a line that stays")
        shown.close()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        text = b"".join(chunks(screen)).decode()
    assert text.startswith("\rsearch 0/100 (0 %) | 0:00 elapsed\x1b[K\rsearch 1/100 ")
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
    assert stream.getvalue() == "search 0/1 (0 %) | 0:00 elapsed\nsearch: done\n"


def test_a_stream_that_went_away_stops_no_run():
    """As when the reader of a pipe ends."""
    stream = io.StringIO()
    shown = progress.Progress(stream)
    stream.close()
    shown.phase("search", 1)
    shown.update(1, {})
    shown.close()


def test_an_update_writes_nothing(monkeypatch):
    """Printing is the other thread's, which sleeps here."""
    monkeypatch.setattr(progress, "_TICK", 1e6)
    stream = io.StringIO()
    shown = progress.Progress(stream)
    shown.phase("search", 1000)
    before = stream.getvalue()
    for step in range(1000):
        shown.update(step, {"loss": 0.5}, cell=str(step))
    assert stream.getvalue() == before
    shown.close()


def test_examples():
    """The docstrings' examples hold."""
    assert doctest.testmod(progress).failed == 0
