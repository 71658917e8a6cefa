"""Tests of metrics.jsonl and of the event files."""

import functools
import io
import json
import math
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorboardX.proto import event_pb2

from jnas.run import metrics
from jnas.spaces import drawing, genotype_text, published


def events(folder):
    """Reads every event, file by file; a record is length, crc, data, crc."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_a_line_and_a_scalar_a_metric(tmp_path):
    """Both are there before anything is closed, and TensorFlow is not."""
    book = metrics.Metrics(tmp_path, step=0)
    values = {"loss": jnp.float32(0.5), "n": np.int64(3), "part": np.ones((1,)), "x": 2}
    book.write(7, "search", metrics.scalars(values), metrics.Found("conv|skip"))
    text = (tmp_path / metrics.NAME).read_text()
    assert json.loads(text) == {
        "step": 7,
        "phase": "search",
        "loss": 0.5,
        "n": 3,
        "part": 1.0,
        "x": 2,
        "cell": "conv|skip",
    }
    scalars = {
        v.tag: (e.step, v.simple_value)
        for e in events(tmp_path)
        for v in e.summary.value
    }
    assert scalars["search/loss"] == (7, 0.5) and scalars["search/n"] == (7, 3.0)
    assert "tensorflow" not in sys.modules
    book.close()


def test_nan_and_infinity_are_null_and_not_in_the_event_file(tmp_path, capfd, caplog):
    """JSON has neither; TensorBoard's writer would print a line for each of them."""
    book = metrics.Metrics(tmp_path, step=0)
    mixed = {"a": math.nan, "b": 0.25, "c": -math.inf, "d": 0.75}
    lost = {"a": math.nan, "b": math.inf}
    found = metrics.Found(weights={"mixed": {"0->1": mixed}, "lost": {"0->1": lost}})
    values = {"loss": math.nan, "top": math.inf, "low": -math.inf, "kept": 0.5}
    book.write(1, "a", metrics.scalars(values), found)
    book.close()
    assert metrics.read(tmp_path) == [
        {"step": 1, "phase": "a", "loss": None, "top": None, "low": None, "kept": 0.5}
    ]
    summaries = {v.tag: v for e in events(tmp_path) for v in e.summary.value}
    assert set(summaries) == {"a/kept", "a/weights_mixed"}
    assert summaries["a/kept"].simple_value == 0.5
    histogram = summaries["a/weights_mixed"].histo
    assert (histogram.num, histogram.min, histogram.max) == (2, 0.25, 0.75)
    assert not any([*capfd.readouterr(), caplog.text])


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(1, 40), step=st.integers(0, 6))
def test_going_on_gives_the_file_of_a_run_that_never_stopped(
    tmp_path_factory, cut, step
):
    """Torn anywhere, gone on from anywhere: no step twice, none missing."""
    folder = tmp_path_factory.mktemp("run")
    book = metrics.Metrics(folder, step=0)
    for s in range(1, 7):
        book.write(s, "a", {"loss": s / 3})
    book.close()
    whole = (folder / metrics.NAME).read_bytes()
    torn = whole if cut == 40 else whole[:-cut]
    (folder / metrics.NAME).write_bytes(torn)
    step = min(step, torn.count(b"\n"))
    book = metrics.Metrics(folder, step=step)
    for s in range(step + 1, 7):
        book.write(s, "a", {"loss": s / 3})
    book.close()
    assert (folder / metrics.NAME).read_bytes() == whole


def test_a_damaged_line_in_the_middle_goes_alone(tmp_path):
    """The lines after it are not lost."""
    (tmp_path / metrics.NAME).write_text('{"step": 1}\n{"st\n[]\n{"step": 3}\n')
    metrics.Metrics(tmp_path, step=3).close()
    assert (tmp_path / metrics.NAME).read_text() == '{"step": 1}\n{"step": 3}\n'


def test_a_found_cell_has_its_weights_and_its_picture(tmp_path):
    """A line of weights by name, a histogram a cell, a picture where it is new."""
    weights = {"normal": {"0->2": {"skip_connect": 0.25, "sep_conv_3x3": 0.75}}}
    cell = published.genotype("DARTS_V2")
    picture = functools.partial(drawing.to_png, cell)
    found = metrics.Found("x", genotype_text.to_json(cell), picture, weights, seed=3)
    book = metrics.Metrics(tmp_path, step=0)
    book.show(1, "search", {"loss": 2.0}, found)
    book.show(2, "search", {"loss": 1.5}, found)
    book.write(4, "search", {"loss": 1.0}, found)
    book.close()
    lines = (tmp_path / metrics.WEIGHTS).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 4, "phase": "search", "weights": weights, "seed": 3}
    ]
    seen = [(e.step, v) for e in events(tmp_path) for v in e.summary.value]
    assert [step for step, v in seen if v.tag == "search/loss"] == [1, 2, 4]
    histograms = [v.histo for _, v in seen if v.tag == "search/weights_normal"]
    assert [(h.num, h.sum) for h in histograms] == [(2, 1.0), (2, 1.0)]
    (image,) = (v.image for _, v in seen if v.tag == "search/cell")
    picture = Image.open(io.BytesIO(image.encoded_image_string))
    assert picture.size == (image.width, image.height) and picture.width > 500
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 10  # not blank


def test_tensorboard_is_told_to_drop_what_is_written_again(tmp_path):
    """The event file of a later start begins with the step from which it counts."""
    book = metrics.Metrics(tmp_path, step=40)
    book.write(41, "a", {"loss": 1.0})
    book.close()
    start = [e for e in events(tmp_path) if e.HasField("session_log")]
    assert [(e.step, e.session_log.status) for e in start] == [(41, 1)]  # 1: START


def test_a_run_without_metrics_has_no_event_file(tmp_path):
    """Looking into a workdir leaves nothing behind."""
    metrics.Metrics(tmp_path, step=0).close()
    assert not events(tmp_path) and metrics.read(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": jnp.zeros(2)}, "metric 'loss' must be one number, got ndarray"),
        ({"loss": "low"}, "metric 'loss' must be one number, got str"),
        ({"step": 1}, "must not be named step, phase, best, cell, got 'step'"),
    ],
)
def test_what_is_no_metric_is_refused(values, message):
    """With the metric's name."""
    with pytest.raises(ValueError, match=message):
        metrics.scalars(values)
