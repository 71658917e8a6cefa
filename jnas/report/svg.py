"""Makes SVG drawings safe to embed in an HTML report."""

import re
from typing import Any, NamedTuple
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    "svg g path line polyline polygon rect circle ellipse text tspan title desc defs "
    "marker use symbol linearGradient radialGradient stop clipPath".split()
)
_ELSEWHERE = re.compile(
    r"url\(\s*['\"]?(?!['\"]?#)|javascript:|@import|\\", re.IGNORECASE
)


class Inline(NamedTuple):
    """A drawing that is safe to embed in HTML.

    Attributes:
      markup: one svg element.
      styles: the texts of its style elements, which the security policy must allow.
    """

    markup: str
    styles: tuple[str, ...]


def to_svg(chart: Any) -> str:
    """Draws a chart as one SVG document on a white background, for papers.

    Args:
      chart: an ``altair`` chart, such as those of ``report.charts``.
    """
    import vl_convert  # imported late: few runs draw a chart as a file

    return vl_convert.vegalite_to_svg(
        chart.to_dict(), config={"background": "#ffffff"}, allowed_base_urls=[]
    )


def inline(svg: str) -> Inline:
    """Returns an SVG document as an element of an HTML page.

    Shapes, text and style sheets are kept; scripts, event handlers, style attributes,
    foreign elements and references to other documents are removed.

    Args:
      svg: the text of one SVG document.

    Raises:
      ValueError: the text is no SVG.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"drawing must be SVG, got text that is no XML ({error}). Draw it again."
        ) from error
    if _local(root.tag) != "svg":
        raise ValueError(
            f"drawing must be SVG, got <{_local(root.tag)}>. Draw it again."
        )
    _clean(root)
    ElementTree.register_namespace("", _SVG)
    styles = tuple(element.text for element in root.iter("{" + _SVG + "}style"))
    return Inline(ElementTree.tostring(root, encoding="unicode"), styles)


def _local(tag: object) -> str:
    name = tag if isinstance(tag, str) else ""
    outside, _, local = name.rpartition("}")
    return local if outside in ("", "{" + _SVG) else ""


def _clean(element: ElementTree.Element) -> None:
    element.tag = "{" + _SVG + "}" + _local(element.tag)
    element.attrib = {
        _local_attribute(name): value
        for name, value in element.attrib.items()
        if _harmless(_local_attribute(name), value)
    }
    for child in list(element):
        if _local(child.tag) in _ELEMENTS:
            _clean(child)
        elif _local(child.tag) == "style" and not _ELSEWHERE.search(child.text or "\\"):
            _keep_style(child)
        else:
            element.remove(child)


def _keep_style(element: ElementTree.Element) -> None:
    text, tail = element.text, element.tail
    element.clear()
    element.tag = "{" + _SVG + "}style"
    element.text = text.replace("\r\n", "\n").replace("\r", "\n")  # as browsers do
    element.tail = tail


def _local_attribute(name: str) -> str:
    return name.rpartition("}")[2]


def _harmless(name: str, value: str) -> bool:
    if name.lower().startswith("on") or name in ("style", "src"):
        return False
    if name == "href":
        return value.startswith("#")
    return not _ELSEWHERE.search(value)
