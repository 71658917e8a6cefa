"""Charts in an HTML report: data, drawing library and security policy."""

import base64
import functools
import hashlib
import html
import json
import re
from collections.abc import Sequence
from typing import Any

from jnas.report import numbers

_SPACED = re.compile(r"(?<=\d) (?=(?:±|×|%|s\b|runs?\b))|(?<=[±×]) (?=\d)")


@functools.cache
def library() -> str:
    """Returns the script that draws charts: Vega, Vega-Lite and Vega-Embed, in one.

    It comes from the installed ``vl-convert-python``; nothing is downloaded.
    """
    import vl_convert  # imported late: not needed by reports without charts

    script = vl_convert.javascript_bundle().replace("\r\n", "\n").replace("\r", "\n")
    # inside a script element these would end it or begin a comment
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def place(chart: Any, number: int) -> str:
    """Returns the markup of a chart: its heading, an empty box, and its data.

    The data are inert: text of a type that browsers do not execute, without any "<".

    Args:
      chart: an ``altair`` chart.
      number: number of the chart in the report, from 0.
    """
    spec = chart.to_dict(validate=False)  # validation is slow; the tests validate
    heading, spec = _responsive(spec)
    name = f"chart-{number}"
    return (
        f'<figure class="chart"><h3>{text(heading)}</h3>'
        f'<div class="canvas" data-chart="{name}"></div>'
        f'<script type="application/json" id="{name}">{_inert(spec)}</script></figure>'
    )


def _responsive(spec: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Makes a chart as wide as its box; its title becomes a heading of the report."""
    title = spec.pop("title", "")
    if not isinstance(title, str):  # an expression of the slider's position
        spec["title"] = title | {"fontSize": 12, "fontWeight": "normal"}
        title = spec["description"]
    spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    spec["description"] = title
    spec.pop("config", None)  # the report has its own theme, light or dark
    return title, spec


def _inert(spec: dict[str, Any]) -> str:
    """Returns ASCII JSON with "<" escaped, so that it cannot end its element."""
    return json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")


def policy(
    scripts: Sequence[str], styles: Sequence[str], *, images: bool = False
) -> str:
    """Returns a Content-Security-Policy that allows only these scripts and styles.

    Args:
      scripts: the texts of the script elements that run.
      styles: the texts of the style elements.
      images: whether images that are inside the file are allowed.
    """
    parts = ["default-src 'none'"]
    if scripts:
        parts.append(f"script-src {_hashes(scripts)}")
    parts.append(f"style-src {_hashes(styles)}")
    parts += ["img-src data:"] if images else []
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(one.encode()).digest() for one in dict.fromkeys(texts))
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)


def text(value: Any) -> str:
    """Escapes a text for HTML; a lone surrogate is replaced."""
    return html.escape(numbers.text(value), quote=True)


def sentence(line: str) -> str:
    """Escapes a sentence; a number with its sign and unit, and a flag, stay whole.

    Example:
      >>> sentence("accuracy 0.91 ± 0.02 <test>")
      'accuracy 0.91\\xa0±\\xa00.02 &lt;test&gt;'
    """
    words = _SPACED.sub("\u00a0", line).split(" ")
    return " ".join(whole(w) if w.startswith("--") else text(w) for w in words)


def whole(word: str) -> str:
    """Escapes a word, such as a flag, that breaks only where it fills a line."""
    return f'<span class="whole">{text(word)}</span>'
