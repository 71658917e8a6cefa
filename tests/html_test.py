"""Tests of report.html: what it says, and what it must not do."""

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess

import pytest

from jnas import report
from jnas.report import svg

HOSTILE = "</script></style></pre><img src=x onerror=alert(1)>'\"&\u2028"
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'
    '<style>.a &gt; .b { fill: red }</style><path class="b" d="M0 0L9 9"/></svg>'
)


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
    lines = [
        {"step": i, "phase": "search", "loss": 1 / i, HOSTILE: i} for i in range(1, 101)
    ]
    report.write_report(
        path,
        run={
            "command": "python experiments/search.py --workdir=w",
            "status": "finished",
            "seed": 1234,
            "flags": {"space": HOSTILE, "learning_rate": 0.025},
            "versions": {"jax": "0.10.2"},
            "device": "1 x cpu (cpu)",
            "data_digest": "sha256:abc",
            "starts": [{"started": "2026-01-01", "status": "interrupted"}],
        },
        result={"test_accuracy": 0.9388, "parameters": 3349342, "best": HOSTILE},
        metrics=[*lines, {"step": 101, "phase": HOSTILE, "loss": None}],
        drawings={HOSTILE: DRAWING},
        tables={HOSTILE: report.Table(["a", HOSTILE], [[HOSTILE, 1.5]])},
        genotype=json.dumps({"space": HOSTILE}),
    )
    return path


def test_it_says_what_was_run_and_found(page):
    """Figures, device, digest, genotype and earlier starts are on the page."""
    texts = Reader(page.read_text(encoding="utf-8")).texts
    for expected in ("1234", "0.9388", "3,349,342", "1 x cpu (cpu)", "sha256:abc"):
        assert expected in texts
    assert "40 of 100 lines of metrics.jsonl" in texts
    assert json.dumps({"space": HOSTILE}) in texts
    assert "2026-01-01 (interrupted)" in texts


def test_hostile_names_stay_text(page):
    """A name full of markup is shown and makes no element."""
    reader = Reader(page.read_text(encoding="utf-8"))
    assert not {"script", "img", "iframe", "link", "object"} & reader.tags
    assert not [a for a in reader.attributes if a[0].startswith("on") or a[0] == "src"]
    assert reader.texts.count(HOSTILE) >= 5


def test_the_policy_allows_the_style_sheets_and_nothing_else(page):
    """Each style sheet is allowed by its hash; no source is."""
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(styles) == 2
    for style in styles:
        digest = hashlib.sha256(html.unescape(style).encode()).digest()
        assert base64.b64encode(digest).decode() in policy


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
    report.write_report(tmp_path / "r.html", run={}, result={}, metrics=[])
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_chromium_shows_it_without_complaint(page, tmp_path):
    """A browser shows the page with no message on its console."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser:
        pytest.skip("no chromium here")
    picture = tmp_path / "page.png"
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    line += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    line += ["--window-size=800,800", f"--screenshot={picture}", page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr, done.stderr
    image = pytest.importorskip("PIL.Image").open(picture).convert("L")
    assert len(set(image.getdata())) > 20  # not blank: text has many greys
