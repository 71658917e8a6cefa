"""The examples in the docstrings are run."""

import doctest
import importlib
import pkgutil

import pytest

import jnas

MODULES = [m.name for m in pkgutil.walk_packages(jnas.__path__, "jnas.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """Every example gives what it says."""
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
