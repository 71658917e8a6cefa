"""Tests of the heat map of mixing weights: a scale around equal weights."""

import math
import re

import numpy as np
import pytest
import vl_convert

from jnas import report
from jnas.report import charts, mixtures


def weighted(*frames):
    """A run whose single edge has these weights, a frame each."""
    lines = [
        {
            "step": 10 * i,
            "weights": {"c": {"0->1": {str(k): w for k, w in enumerate(mix)}}},
        }
        for i, mix in enumerate(frames)
    ]
    return report.RunFiles("w", weights=lines)


@pytest.mark.parametrize(
    ("mixes", "limit", "said"),
    [
        ([[0.25] * 4, [0.2502, 0.2498, 0.25, 0.25]], math.log2(1.2), "0.08 % of equal"),
        ([[0.4, 0.2, 0.2, 0.2]], math.log2(1.6), "0.8× to 1.6× equal weights"),
        ([[0.9, 0.1, 0, 0]], 3, "0× to 3.6× equal weights"),
        ([[0.9, 0.9], [0.8, 0.9]], math.log2(1.2), "0.94× to 1.1× equal weights"),
    ],
)
def test_the_map_is_symmetric_around_equal_weights(mixes, limit, said):
    """At least 1/1.2 to 1.2, at most 1/8 to 8; the title says what was seen."""
    chart = charts.weights(weighted(*mixes))
    scale = chart.to_dict()["encoding"]["color"]["scale"]
    low, high = scale["domain"]
    assert low == -high and high == pytest.approx(limit, abs=1e-4)
    assert scale["domainMid"] == 0
    assert said in report.to_svg(chart)


def test_the_map_draws_equal_weights_in_the_middle_colour():
    """As drawn: equal is one colour on all edges, twice and half are mirrored."""
    mixes = {"a": [0.25] * 4, "b": [0.5, 0.125, 0.25, 0.125], "c": [0.5, 0.5]}
    cells = {"cell": {e: {str(k): w for k, w in enumerate(mix)}
                      for e, mix in mixes.items()}}  # fmt: skip
    run = report.RunFiles("w", weights=[{"step": 1, "weights": cells}])
    spec = charts.weights(run).to_dict()
    spec["encoding"]["color"]["scale"]["range"] = ["#000000", "#808080", "#ffffff"]
    svg = vl_convert.vegalite_to_svg(spec)
    fills = {}
    for label, fill in re.findall(r'aria-label="([^"]*)"[^>]*? fill="([^"]*)"', svg):
        found = dict(part.split(": ", 1) for part in label.split("; ") if ": " in part)
        if "edge" in found:
            grey = [int(n) for n in re.findall(r"\d+", fill)][0]
            fills[found["edge"], found["operation"]] = grey
    assert len(fills) == 10
    equal = [("a", str(i)) for i in range(4)] + [("b", "2"), ("c", "0"), ("c", "1")]
    assert {fills[one] for one in equal} == {128}
    assert fills["b", "0"] == 255 and fills["b", "1"] == 0  # twice and half: both ends


def test_extremes_against_numpy():
    """Ratios to an edge's own mean, over all edges that have weights."""
    mix = np.random.default_rng(0).random((3, 5)).round(4)
    edges = {str(e): {str(o): float(w) for o, w in enumerate(row)} for e, row in
             enumerate(mix)}  # fmt: skip
    run = report.RunFiles("w", weights=[{"step": 1, "weights": {"c": edges}}])
    ratios = mix / mix.mean(1, keepdims=True)
    (found,) = mixtures.extremes(mixtures.frames(run, "search"))
    assert found == pytest.approx((ratios.min(), ratios.max()))
