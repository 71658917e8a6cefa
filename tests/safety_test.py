"""No file of ours runs text as code, unpickles, or asks a shell."""

import ast
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve",
    "joblib", "jsonpickle",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *(f"builtins.{name}" for name in BUILTINS),
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
}  # fmt: skip
METHODS = {"read_pickle", "to_pickle"}  # of any object: pandas has them
UNSAFE = {"allow_pickle", "shell"}  # arguments that must be False where they are given
IMPORTERS = {"importlib.import_module", "importlib.__import__", "builtins.__import__"}


class _Finder(ast.NodeVisitor):
    """Collects (line, what) of a module; names are followed through imports.

    A name that is bound to another object first (``f = eval``) is seen where it is
    bound: reading ``eval`` is enough.
    """

    def __init__(self, tree):
        self.found = []
        self.aliases = {"__builtins__": "builtins"} | {
            n: f"builtins.{n}" for n in BUILTINS
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    top = name.name.partition(".")[0]
                    self.aliases[name.asname or top] = name.name if name.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    full = f"{node.module}.{name.name}"
                    self.aliases[name.asname or name.name] = full
            elif isinstance(node, ast.FunctionDef) and node.name == "compile":
                self.aliases.pop("compile", None)  # one's own
        self.visit(tree)
        self.found.sort()

    def add(self, node, what):
        self.found.append((node.lineno, what))

    def dotted(self, node):
        """Returns the full name that an expression reads, or ""."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value)}.{node.attr}"
        return ""

    def visit_Import(self, node):
        for name in node.names:
            if name.name.partition(".")[0] in MODULES:
                self.add(node, name.name)

    def visit_ImportFrom(self, node):
        if (node.module or "").partition(".")[0] in MODULES:
            self.add(node, node.module)
        for name in node.names:
            if f"{node.module}.{name.name}" in CALLS or node.module == "builtins":
                self.add(node, f"{node.module}.{name.name}")

    def visit_Name(self, node):
        if self.dotted(node) in CALLS or node.id == "__builtins__":
            self.add(node, self.dotted(node))

    def visit_Attribute(self, node):
        if self.dotted(node) in CALLS or node.attr in METHODS:
            self.add(node, self.dotted(node))
        self.generic_visit(node)

    def visit_Call(self, node):
        name = self.dotted(node.func)
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        if name in IMPORTERS and any(
            isinstance(t, str) and t.partition(".")[0] in MODULES for t in texts
        ):
            self.add(node, f"{name} {texts}")
        if name in ("getattr", "vars") and self.dotted(node.args[0]) == "builtins":
            self.add(node, f"{name} of builtins")
        if name == "numpy.load" and len(node.args) > 2:
            self.add(node, "allow_pickle")
        for keyword in node.keywords:
            if keyword.arg in UNSAFE and not _false(keyword.value):
                self.add(node, keyword.arg)
        self.generic_visit(node)

    def visit_Dict(self, node):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in UNSAFE:
                if not _false(value):
                    self.add(node, key.value)
        self.generic_visit(node)


def _false(node):
    return isinstance(node, ast.Constant) and node.value is False


def find(source):
    """Returns (line, what) of everything that a source must not do."""
    return _Finder(ast.parse(source)).found


def cells(text):
    """Returns the code cells of a notebook, without lines for its shell."""
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            yield re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", "".join(cell["source"]))


def sources():
    """Yields (name, source) of every file of Python in the tree."""
    for folder in ("jnas", "experiments", "tests", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")
    yield "setup.py", (ROOT / "setup.py").read_text("utf-8")
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        for number, source in enumerate(cells(path.read_text("utf-8"))):
            yield f"{path.relative_to(ROOT)}, cell {number}", source


def test_nothing_in_the_tree_is_unsafe():
    """Every file and every notebook's cell."""
    names, found = [], []
    for name, source in sources():
        names.append(name)
        found += [f"{name}, line {line}: {what}" for line, what in find(source)]
    assert {"setup.py", "jnas/spaces/genotype_text.py", "experiments/search.py"} <= set(
        names
    )
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec(text)",
        "f = eval",
        "map(eval, texts)",
        "compile(text, 'x', 'exec')",
        "__import__('os')",
        "__builtins__['eval']",
        "import builtins as b\nb.exec('1')",
        "from builtins import eval as safe",
        "import builtins\ngetattr(builtins, 'ev' + 'al')",
        "import builtins\nvars(builtins)['eval']",
        "import pickle",
        "import pickle as p",
        "import os, dill",
        "from pickle import loads",
        "def f():\n    from joblib.numpy_pickle import load",
        "import importlib\nimportlib.import_module('marshal')",
        "from importlib import import_module as get\nget('shelve')",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy as np\nnp.load(f, allow_pickle=yes)",
        "import numpy as np\nnp.load(f, None, True)",
        "from numpy import load\nload(f, None, 1)",
        "np.load(f, **{'allow_pickle': True})",
        "import pandas as pd\npd.read_pickle(f)",
        "frame.to_pickle(f)",
        "import yaml as y\ny.load(f)",
        "from yaml import unsafe_load",
        "import os\nos.system('ls')",
        "from os import popen as p",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "Popen(line, shell=shell)",
        "import subprocess as s\ns.getoutput('ls')",
    ],
)
def test_what_is_unsafe_is_found(source):
    """Under other names as well."""
    assert len(find(source)) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import jax\njax.eval_shape(f, x)",
        "import re\nre.compile('a')",
        "frame.eval('a + b')",
        "jax.jit(f).lower(x).compile()",
        "def compile(f):\n    return f\n\ncompile(g)",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "import yaml\nyaml.safe_load(f)",
        "import system\nsystem.os.system_of(x)",
        "text = 'eval(1); import pickle'  # exec",
        "getattr(registry, 'OPERATIONS')",
        "spec.loader.exec_module(module)",
    ],
)
def test_what_only_looks_like_it_is_not(source):
    """Methods of other objects, and text."""
    assert find(source) == []


def test_a_notebook_is_read_by_cells():
    """Its lines for pip are no Python."""
    book = {
        "cells": [
            {"cell_type": "markdown", "source": ["eval(1)"]},
            {
                "cell_type": "code",
                "source": ["%pip install x\n", "if a:\n", "    !ls\n"],
            },
            {"cell_type": "code", "source": ["import pickle"]},
        ]
    }
    found = [find(source) for source in cells(json.dumps(book))]
    assert found == [[], [(1, "pickle")]]
