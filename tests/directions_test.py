"""Directions of metrics: declared, overridden, shown."""

import pytest

from jnas import directions


@pytest.mark.parametrize(
    ("text", "name", "sign"),
    [
        ("valid_12", "valid_12", 1),
        ("parameters", "parameters", -1),
        ("seconds_12", "seconds_12", -1),
        ("latency_ms", "latency_ms", -1),
        ("train_loss", "train_loss", -1),
        ("valid_loss_12", "valid_loss_12", -1),
        ("cifar10_valid_seconds_12", "cifar10_valid_seconds_12", -1),
        ("train-all-time", "train-all-time", -1),
        ("num_parameters", "num_parameters", -1),
        ("GFLOPs", "GFLOPs", -1),
        ("error_rate", "error_rate", -1),
        ("lossless", "lossless", 1),
        ("latency_score", "latency_score", 1),
        ("memory_accuracy", "memory_accuracy", 1),
        ("-valid_12", "valid_12", -1),
        ("-parameters", "parameters", -1),
        ("maximize:parameters", "parameters", 1),
        ("minimize:valid_12", "valid_12", -1),
    ],
)
def test_a_metric_has_its_declared_direction_unless_one_is_written(text, name, sign):
    """A name's own direction, the two words, and the minus sign."""
    metric = directions.parse(text)
    assert (metric.name, metric.sign) == (name, sign)


def test_a_table_declares_costs_of_any_name():
    """What no name tells, its declaration does."""
    assert directions.declared("joule").sign == 1
    assert directions.declared("joule", {"joule"}).sign == -1
    assert directions.parse("maximize:joule", {"joule"}).sign == 1


@pytest.mark.parametrize("text", ["smallest:parameters", "minimize:", "-", ":x"])
def test_other_words_are_refused(text):
    """An unknown word before the colon, or nothing after it."""
    with pytest.raises(ValueError, match="minimize:NAME or maximize:NAME"):
        directions.parse(text)


def test_the_label_points_to_the_better_end():
    """An arrow up for more, down for less."""
    assert directions.parse("parameters").label == "parameters ↓"
    assert directions.parse("valid_12").label == "valid_12 ↑"
