"""Tests of report.html: what it says, and what it must not do."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re

import made_runs
import pytest

from jnas import report
from jnas.report import svg

HOSTILE = made_runs.HOSTILE
SAID = ("verdict", "warnings", "next")


class Reader(html.parser.HTMLParser):
    """Collects the tags, attributes and texts of a page."""

    def __init__(self, text):
        """Reads the whole page."""
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Notes a tag."""
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Notes a text."""
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The path of a report that says everything, with a hostile name everywhere."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    made = made_runs.search(num_epochs=100, space=HOSTILE, learning_rate=0.025)
    lines = [line | {HOSTILE: 1} for line in made.metrics]
    run = dataclasses.replace(
        made,
        name=HOSTILE,
        run=made.run | {"seed": 1234},
        result={"test_accuracy": 0.9388, "parameters": 3349342, "best": HOSTILE}
        | {name: made_runs.objectives().result[name] for name in SAID}
        | {
            "directions": {HOSTILE: "minimize"},
            "seeds": [{HOSTILE: 1, "genotype": HOSTILE}] * 2,
        },
        metrics=[*lines, {"step": 2000, "phase": HOSTILE, "train_loss": None}],
        drawings={HOSTILE: made_runs.DRAWING},
        evaluations=made_runs.objectives().evaluations,
        front=made_runs.objectives().front,
        objectives={HOSTILE: "minimize", "valid_12": "maximize"},
    )
    report.write_report(
        path, [run], tables={HOSTILE: report.Table(["a", HOSTILE], [[HOSTILE, 1.5]])}
    )
    return path


def test_it_says_what_was_run_and_found(page):
    """Figures, device, digest, genotype and earlier starts are in the report."""
    texts = Reader(page.read_text(encoding="utf-8")).texts
    for expected in ("1234", "0.9388", "3,349,342", "1 x cpu (cpu)", "sha256:abc"):
        assert expected in texts
    assert "40 of the 100 lines in metrics.jsonl" in texts
    assert json.dumps({"space": HOSTILE}) in texts
    assert "2026-01-01 (interrupted)" in texts


def test_hostile_names_stay_text(page):
    """A name full of markup is shown and makes no element."""
    reader = Reader(page.read_text(encoding="utf-8"))
    assert not {"img", "iframe", "link", "object"} & reader.tags
    assert not [a for a in reader.attributes if a[0].startswith("on") or a[0] == "src"]
    assert reader.texts.count(HOSTILE) >= 5


def test_data_of_charts_cannot_end_its_element(page):
    """The specifications are JSON that runs nowhere, in ASCII and without "<"."""
    text = page.read_text(encoding="utf-8")
    specs = re.findall(
        r'<script type="application/json" id="chart-\d+">(.*?)</script>', text
    )
    assert len(specs) == text.count("data-chart=") >= 7
    assert any("onerror" in spec for spec in specs)
    for spec in specs:
        assert spec.isascii() and "<" not in spec
        assert json.loads(spec)["width"] == "container"


def test_the_policy_allows_its_own_texts_and_nothing_else(page):
    """Each running script and each style sheet is allowed by its hash; no source is."""
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(styles) == 2 and len(scripts) == 2
    for one in (*map(html.unescape, styles), *scripts):
        digest = hashlib.sha256(one.encode()).digest()
        assert base64.b64encode(digest).decode() in policy
    assert policy.count("sha256-") == 4


def test_a_page_without_charts_has_no_drawing_library(tmp_path):
    """Nothing to draw, nothing to carry."""
    run = report.RunFiles("a", run=made_runs.record(), genotype="{}")
    report.write_report(tmp_path / "r.html", [run])
    assert (tmp_path / "r.html").stat().st_size < 30_000


def test_ten_long_runs_are_under_five_megabytes(tmp_path):
    """Ten searches of 600 epochs with the weights of 28 edges each epoch."""
    edges = [f"{i}->{j}" for j in range(2, 6) for i in range(j)]
    made = made_runs.search(num_epochs=600)
    weights = made_runs.weights(600, edges)
    runs = [
        dataclasses.replace(
            made, name=f"run {i}", run=made_runs.record(method=f"m{i}"), weights=weights
        )
        for i in range(10)
    ]
    report.write_report(tmp_path / "r.html", runs)
    assert (tmp_path / "r.html").stat().st_size < 5_000_000


def test_a_lone_surrogate_is_replaced(tmp_path):
    """A broken file name in a flag or a name can be written."""
    run = made_runs.search("a\udc80b", space="x\udcff")
    report.write_report(tmp_path / "r.html", [run, made_runs.search("b")])
    assert "a?b" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<image href="http://a.b/c"/>',
        "<foreignObject><div xmlns='http://www.w3.org/1999/xhtml'/></foreignObject>",
        '<path onload="alert(1)"/>',
        '<use href="http://a.b/c#d"/>',
        '<path fill="url(http://a.b/c)"/>',
        '<path style="fill: url(http://a.b/c)"/>',
        "<style>@import 'http://a.b/c';</style>",
        "<style>a { fill: ur\\6c(http://a.b/c) }</style>",
        '<set attributeName="href" to="javascript:alert(1)"/>',
    ],
)
def test_a_drawing_loses_what_is_no_drawing(inside):
    """Whatever runs or points out of a drawing is left out."""
    text = f'<svg xmlns="http://www.w3.org/2000/svg">{inside}<path d="M0 0"/></svg>'
    markup, styles = svg.inline(text)
    for word in ("alert", "a.b", "div", "import"):
        assert word not in markup
    assert 'd="M0 0"' in markup and styles == ()


def test_a_drawing_keeps_its_own_links():
    """Links inside the drawing work."""
    inside = '<path fill="url(#a)"/><use href="#b"/>'
    markup, _ = svg.inline(f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>')
    assert 'fill="url(#a)"' in markup and 'href="#b"' in markup


@pytest.mark.parametrize("text", ["", "no xml", "<html/>", "<svg"])
def test_what_is_no_svg_is_refused(text):
    """A text that is no SVG is an error with that name."""
    with pytest.raises(ValueError, match="drawing must be SVG"):
        svg.inline(text)


def test_an_empty_run_has_a_page(tmp_path):
    """Nothing to say is no error, and no temporary file stays."""
    report.write_report(tmp_path / "r.html", [report.RunFiles("a")])
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    """The file is replaced as a whole or not at all."""
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="row must have 1 cells"):
        report.write_report(
            path, [report.RunFiles("a")], tables={"t": report.Table(["a"], [[1, 2]])}
        )
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
