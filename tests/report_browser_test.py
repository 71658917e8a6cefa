"""Tests of report.html in headless Chromium: it draws, moves, and asks nobody."""

import contextlib
import dataclasses
import shutil
import time

import made_runs
import pytest

from jnas import report

pytestmark = pytest.mark.slow

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
DRAWN = """[...document.querySelectorAll('[data-chart]')]
    .every(box => box.dataset.drawn === '%s')"""
COLOURS = """box => {
    const canvas = box.querySelector('canvas');
    const data = canvas.getContext('2d')
        .getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) {
        found.add(data.slice(i, i + 4).join());
    }
    return found.size;
}"""


# numbers, flags and dates of which parts are on two lines
BROKEN = r"""() => {
    const walk = document.createTreeWalker(document.querySelector('main'), 4);
    const broken = [];
    while (walk.nextNode()) {
        const node = walk.currentNode;
        if (node.parentElement.closest('script, style, svg')) { continue; }
        const whole = /--\w+|\d[\d.,:T-]*\d(\s±\s[\d.]+)?/g;
        for (const found of node.textContent.matchAll(whole)) {
            const range = document.createRange();
            range.setStart(node, found.index);
            range.setEnd(node, found.index + found[0].length);
            const tops = [...range.getClientRects()].map(r => Math.round(r.top));
            if (new Set(tops).size > 1) { broken.push(found[0]); }
        }
    }
    return broken;
}"""


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, or the reason why there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    path = path or shutil.which("google-chrome")
    if not path:
        pytest.skip("no chromium here")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=ARGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """A page of several runs, with hostile names wherever a name can be."""
    hostile = made_runs.HOSTILE
    runs = [
        made_runs.search(f"{hostile} {m}{s}", seed=s, method=m, offset=s / 50)
        for m in ("x", hostile)
        for s in range(2)
    ]
    runs += [made_runs.discrete(seed=s) for s in range(2)] + [made_runs.comparison()]
    runs += [
        made_runs.objectives(),
        made_runs.objectives("n", a="minimize", b="minimize"),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    tables = {hostile: report.Table([hostile], [[hostile]])}
    report.write_report(path, runs, title=hostile, tables=tables)
    return path


def wait(page, expression, seconds=30):
    """Waits until an expression is true; the policy forbids pages to evaluate it."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"waited in vain for {expression}"
        page.wait_for_timeout(50)


@contextlib.contextmanager
def opened(browser, path, **context):
    """Opens the page; at the end nothing may have gone wrong or outside."""
    with browser.new_context(**context) as around:
        page = around.new_page()
        wrong, asked = [], []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else 0)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        scheme = context.get("color_scheme", "light")
        wait(page, DRAWN % scheme)
        yield page
        assert wrong == []
        assert asked == [path.as_uri()]


def boxes(page):
    """All boxes of charts."""
    return page.query_selector_all("[data-chart]")


def test_every_chart_is_drawn(browser, page_path):
    """No canvas is blank, no error, no request; hostile names made no element."""
    with opened(browser, page_path) as page:
        found = boxes(page)
        assert len(found) > 15
        assert all(box.evaluate(COLOURS) > 10 for box in found)
        assert page.query_selector_all("img, iframe, [onerror]") == []
        assert page.title() == made_runs.HOSTILE


def test_the_slider_changes_the_map(browser, page_path):
    """Other weights are drawn, and the step above the map is another."""
    with opened(browser, page_path) as page:
        slider = page.query_selector("input[type=range]")
        box = slider.evaluate_handle("e => e.closest('[data-chart]')").as_element()
        seen = "box => box.querySelector('canvas').toDataURL()"
        before = box.evaluate(seen)
        assert slider.evaluate("e => [e.min, e.max, e.value]") == ["1", "5", "5"]
        slider.focus()
        page.keyboard.press("Home")
        wait(page, "document.querySelector('input[type=range]').value === '1'")
        page.wait_for_timeout(300)
        assert slider.evaluate("e => e.value") == "1"
        assert box.evaluate(seen) != before
        assert box.evaluate("box => box.chart.view.signal('frame')") == 1


def test_a_tooltip_shows_a_hostile_name_as_text(browser, page_path):
    """Whatever hovers is text."""
    with opened(browser, page_path) as page:
        box = page.query_selector("[data-chart]:has(input[type=range]) canvas")
        box.scroll_into_view_if_needed()
        area = box.bounding_box()
        page.mouse.move(
            area["x"] + 0.95 * area["width"], area["y"] + 0.5 * area["height"]
        )
        page.wait_for_selector("#vg-tooltip-element.visible", timeout=5000)
        shown = page.inner_text("#vg-tooltip-element")
        assert "<img src=x onerror=alert(1)>" in shown and "0.6" in shown


@pytest.mark.parametrize("width", [380, 700, 1280])
def test_no_number_breaks_over_two_lines(width, browser, tmp_path):
    """A tile, a sentence or a cell shows each number, flag and date on one line."""
    learned = made_runs.search()
    figures = {"macs": 123_456_789_012, "seconds": 1234.5, "test_accuracy": 0.98765}
    long = (
        f"Of 1,234,567,890 {'numbers ' * 9} 0.987 ± 0.012 with --logits_learning_rate=1"
    )
    learned = dataclasses.replace(
        learned,
        run=learned.run | {"data": made_runs.DATA, "started": "2026-01-02T03:04:05"},
        result=learned.result
        | {"verdict": long, "warnings": [long], "next": "jnas retrain --epochs=600"}
        | figures,
    )
    several = [learned, dataclasses.replace(learned, name="b")]
    for number, runs in enumerate(([learned], [made_runs.objectives()], several)):
        path = tmp_path / f"{number}.html"
        report.write_report(path, runs)
        with opened(browser, path, viewport={"width": width, "height": 800}) as page:
            page.evaluate(
                "document.querySelectorAll('details').forEach(d => d.open = 1)"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(BROKEN) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_sliding_sideways(scheme, browser, page_path):
    """400 pixels are enough, in both colour schemes, with all details unfolded."""
    size = {"width": 400, "height": 800}
    with opened(browser, page_path, viewport=size, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = 1)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, colour[4:-1].split(","))) / 3
        assert (brightness < 60) == (scheme == "dark")


def test_a_change_of_scheme_is_followed(browser, page_path):
    """Charts are drawn again in the other colours, and the slider stays."""
    with opened(browser, page_path) as page:
        page.focus("input[type=range]")
        page.keyboard.press("Home")
        page.wait_for_timeout(200)
        page.emulate_media(color_scheme="dark")
        wait(page, DRAWN % "dark")
        assert page.evaluate(
            "[...document.querySelectorAll('[data-chart]')].find(box => "
            "box.querySelector('input')).chart.view.signal('frame')"
        ) == 1  # fmt: skip


def test_the_button_copies_the_genotype(browser, page_path):
    """The clipboard holds the text of genotype.json, or the text is selected."""
    with opened(browser, page_path, permissions=["clipboard-read"]) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = 1)")
        button = page.query_selector("button[data-copy]")
        button.click()
        wait(page, "document.querySelector('[data-copy]').textContent !== 'Copy'")
        selected = page.evaluate("getSelection().toString()")
        assert selected.strip() == made_runs.search().genotype
        assert button.inner_text() == "Copied"


def test_the_policy_stops_what_slips_in(browser, page_path, tmp_path):
    """A script that were written into the page would not run."""
    text = page_path.read_text(encoding="utf-8")
    path = tmp_path / "slipped.html"
    slipped = "<script>document.title = 'ran'</script><p onclick='1' id=p>"
    path.write_text(text.replace("<main>", f"<main>{slipped}"), encoding="utf-8")
    with browser.new_context() as around:
        page = around.new_page()
        refused = []
        page.on("console", lambda m: refused.append(m.text))
        page.goto(path.as_uri())
        wait(page, DRAWN % "light")
        assert page.title() != "ran"
        assert any("Content Security Policy" in text for text in refused)
