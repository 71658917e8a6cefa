"""Charts inside a page: their data, the drawing library, and the policy over both."""

import base64
import functools
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

from jnas.report import numbers


@functools.cache
def library() -> str:
    """Returns the script that draws charts: Vega, Vega-Lite and Vega-Embed, in one.

    It comes from the installed ``vl-convert-python``; nothing is loaded from elsewhere.
    """
    import vl_convert  # late: pages without charts do without

    script = vl_convert.javascript_bundle().replace("\r\n", "\n").replace("\r", "\n")
    # inside a script element these would begin or end something else
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def place(chart: Any, number: int) -> str:
    """Returns the markup of a chart: its heading, an empty box, and its data.

    The data is inert: text of a type that no browser runs, without a "<" in it.

    Args:
      chart: an ``altair`` chart.
      number: on the page, from 0.
    """
    spec = chart.to_dict(validate=False)  # it takes long, and tests do it
    heading, spec = _responsive(spec)
    name = f"chart-{number}"
    return (
        f'<figure class="chart"><h3>{text(heading)}</h3>'
        f'<div class="canvas" data-chart="{name}"></div>'
        f'<script type="application/json" id="{name}">{_inert(spec)}</script></figure>'
    )


def _responsive(spec: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Makes a chart as wide as its box; its title becomes a heading of the page."""
    title = spec.pop("title", "")
    if not isinstance(title, str):  # an expression that says where a slider stands
        spec["title"] = title | {"fontSize": 12, "fontWeight": "normal"}
        title = spec["description"]
    spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    spec["description"] = title
    spec.pop("config", None)  # the page's own theme, light or dark
    return title, spec


def _inert(spec: dict[str, Any]) -> str:
    """JSON in ASCII, where "<" is escaped too: nothing in it can end its element."""
    return json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Returns a Content-Security-Policy that allows these texts and nothing else.

    Args:
      scripts: the texts of the script elements that run.
      styles: the texts of the style elements.
    """
    parts = ["default-src 'none'"]
    if scripts:
        parts.append(f"script-src {_hashes(scripts)}")
    parts.append(f"style-src {_hashes(styles)}")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(one.encode()).digest() for one in dict.fromkeys(texts))
    return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)


def text(value: Any) -> str:
    """Escapes a text for a page; a lone surrogate is replaced."""
    return html.escape(numbers.text(value), quote=True)
