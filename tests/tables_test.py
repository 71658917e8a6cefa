"""Tests of the plain-text tables."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jnas.report import tables

_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@given(st.lists(st.tuples(_VALUES, _VALUES), max_size=5))
def test_every_line_is_as_wide_and_has_as_many_cells(rows):
    """Any value keeps its place in the grid."""
    lines = tables.markdown(tables.Table(["first", "second"], rows)).split("\n")
    assert len(lines) == 2 + len(rows)
    assert len({len(line) for line in lines}) == 1
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}


def test_records_with_different_keys_share_columns():
    """A missing key is a gap."""
    table = tables.from_records([{"a": 1}, {"b": 2.0, "a": None}])
    assert table == tables.Table(["a", "b"], [[1, None], [None, 2.0]])


def test_numbers_stand_right_and_names_left():
    """Columns of numbers are aligned on the right."""
    table = tables.Table(["name", "n"], [["x", 1], ["longer", 1000]])
    assert tables.markdown(table).split("\n")[2] == "| x      |     1 |"


def test_a_ragged_row_is_named():
    """The error says which row."""
    with pytest.raises(ValueError, match="row must have 2 cells, got 1 in row 1"):
        tables.markdown(tables.Table(["a", "b"], [[1, 2], [3]]))


def test_examples():
    """The docstrings' examples hold."""
    assert doctest.testmod(tables).failed == 0
