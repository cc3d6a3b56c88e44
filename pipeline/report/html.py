"""Pieces of a self-contained HTML page: escaped text, tables, inline SVG, one style sheet; no script, no address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import count
from xml.etree import ElementTree

from pipeline.errors import ShapeError

_DRAWING = {
    *("svg", "g", "defs", "path", "use", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan"),
    *("clipPath", "title"),
}
"""Elements that are kept; scripts, styles, foreign content and addresses are not."""

STYLE = """
:root{--ink:#1b1f24;--soft:#4a5158;--line:#cfd4da;--wash:#f4f6f8;--good:#0b6b3a;--bad:#a4262c;--warn:#7a4b00;--link:#0b4f8a}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:68rem;padding:1.25rem;color:var(--ink);background:#fff;
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.75rem 0 .25rem}
h2{font-size:1.25rem;margin:2.25rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.25rem 0 .4rem}
p,ul{margin:.4rem 0;max-width:46rem}
.verdict{margin:0;padding:.9rem 1.1rem;max-width:none;border:1px solid;border-left-width:.5rem;border-radius:.3rem;
font-size:1.1rem;font-weight:600}
.passed{color:var(--good);background:#eef8f1}.failed{color:var(--bad);background:#fdf1f1}
.behind{color:var(--warn);background:#fff8ec}
.soft{color:var(--soft)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;list-style:none;max-width:none}
a{color:var(--link)}a:focus-visible,.scroll:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{position:static}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.2rem 0}
th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:normal}
table.facts{width:100%}table.facts td{overflow-wrap:anywhere}table.facts th{width:15rem;max-width:40vw}
thead th{background:var(--wash);border-bottom-width:2px}
tbody th{font-weight:600}table:not(.facts) tbody th{min-width:9rem;overflow-wrap:anywhere}
td.number{text-align:right;white-space:nowrap}th.number{text-align:right}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1rem;margin:.6rem 0}
.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,14rem),1fr))}
figure{margin:0;padding:.6rem;border:1px solid var(--line);border-radius:.3rem;break-inside:avoid}
figcaption{font-size:.9rem}
svg{display:block;width:100%;height:auto;max-height:30rem}svg *{stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace}
@media print{body{max-width:none;padding:0;font-size:10pt}nav,.skip{display:none}h2{break-after:avoid}
.scroll{overflow:visible}tr{break-inside:avoid}}
"""


class Html(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def html(value: object) -> str:
    """Escape a value, unless it is `Html`."""
    return str(value) if isinstance(value, Html) else escape(_plain(value))


def build_page(title: str, body: Iterable[Html]) -> str:
    """Build the whole document; its security policy forbids scripts and every outside address."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def sections(parts: Mapping[str, Sequence[Html]]) -> Html:
    """Build headed sections under a list of links to them; empty ones are left out."""
    there = {title: blocks for title, blocks in parts.items() if blocks}
    ids = {title: re.sub(r"\W+", "-", title.lower()).strip("-") for title in there}
    links = "".join(f'<li><a href="#{ids[title]}">{html(title)}</a></li>' for title in there)
    texts = [
        f'<section aria-labelledby="{ids[title]}">\n<h2 id="{ids[title]}">{html(title)}</h2>\n'
        + "\n".join(blocks)
        + "\n</section>"
        for title, blocks in there.items()
    ]
    return Html(
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="content">\n' + "\n".join(texts) + "\n</main>"
    )


def paragraph(text: object, kind: str = "") -> Html:
    return Html(f'<p class="{kind}">{html(text)}</p>' if kind else f"<p>{html(text)}</p>")


def heading(text: object) -> Html:
    return Html(f"<h3>{html(text)}</h3>")


def bullets(items: Iterable[object]) -> Html:
    return Html("<ul>" + "".join(f"<li>{html(item)}</li>" for item in items) + "</ul>")


def facts(values: Mapping[str, object], caption: str) -> Html:
    """Build a table of names and values, both text; values that are None or empty are left out."""
    rows = "".join(
        f'<tr><th scope="row">{html(name)}</th><td>{html(value)}</td></tr>'
        for name, value in values.items()
        if value is not None and value != ""
    )
    return _scroll(f'<table class="facts"><caption>{html(caption)}</caption><tbody>{rows}</tbody></table>', caption)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> Html:
    """Build a table; the first cell of a row names it, numbers stand on the right."""
    body = [list(row) for row in rows]
    numeric = [bool(body) and all(_is_number(row[k]) for row in body) for k in range(len(head))]
    side = ['class="number"' if one else "" for one in numeric]
    top = "".join(f'<th scope="col" {side[k]}>{html(name)}</th>' for k, name in enumerate(head))
    lines = "".join(
        f'<tr><th scope="row">{html(row[0])}</th>'
        + "".join(f"<td {side[k]}>{html(cell)}</td>" for k, cell in enumerate(row) if k)
        + "</tr>"
        for row in body
    )
    return _scroll(
        f"<table><caption>{html(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>", caption
    )


def figures(drawn: Iterable[tuple[str, str | None]], ids: count[int], *, small: bool = False) -> Html:
    """Build a grid of figures.

    Args:
        drawn: captions and SVG strings; without SVG the caption stands alone.
        ids: numbers not yet used on the page, so that no two pictures share an id.
    """
    boxes = []
    for caption, svg in drawn:
        picture = inline_svg(svg, f"f{next(ids)}-", caption) if svg else ""
        boxes.append(f"<figure>{picture}<figcaption>{html(caption)}</figcaption></figure>")
    return Html(f'<div class="figures{" small" if small else ""}">\n' + "\n".join(boxes) + "\n</div>")


def inline_svg(svg: str, prefix: str, label: str) -> Html:
    """Make an SVG document part of a page.

    Only drawing elements and attributes stay; ids and references to them get a prefix; references to anywhere else
    and namespaces go.

    Raises:
        ShapeError: if `svg` is not an SVG document.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ShapeError(f"figure '{label}': is not an SVG document ({error}).") from None
    if _local(root.tag) != "svg":
        raise ShapeError(f"figure '{label}': an SVG document was expected, <{_local(root.tag)}> came.")
    box = root.get("viewBox") or f"0 0 {root.get('width', '').rstrip('px')} {root.get('height', '').rstrip('px')}"
    inner = "".join(_element(child, prefix) for child in root)
    return Html(f'<svg viewBox="{escape(box)}" role="img" aria-label="{escape(label)}">{inner}</svg>')


def _element(element: ElementTree.Element, prefix: str) -> str:
    name = _local(element.tag)
    if name not in _DRAWING:
        return ""
    attributes = "".join(_attribute(_local(key), value, prefix) for key, value in element.attrib.items())
    inner = escape((element.text or "").strip("\n"), quote=False) if name in ("text", "tspan", "title") else ""
    for child in element:
        inner += _element(child, prefix)
        if name in ("text", "tspan"):
            inner += escape(child.tail or "", quote=False)
    return f"<{name}{attributes}>{inner}</{name}>"


def _attribute(name: str, value: str, prefix: str) -> str:
    if name.lower().startswith("on") or name in ("space", "class"):
        return ""
    if name == "id":
        value = prefix + value
    elif name == "href":
        if not value.startswith("#"):
            return ""
        value = f"#{prefix}{value[1:]}"
    value = re.sub(r"url\((?!#)[^)]*\)", "none", value)
    value = re.sub(r"url\(#", f"url(#{prefix}", value)
    return f' {name}="{escape(" ".join(value.split()))}"'


def _local(tag: object) -> str:
    """A name without its namespace; comments have a function as tag."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _scroll(inner: str, label: str) -> Html:
    """A wide table scrolls in its own box, by keyboard too."""
    return Html(f'<div class="scroll" role="region" tabindex="0" aria-label="{html(label)}">{inner}</div>')


def _is_number(value: object) -> bool:
    """Is it a number, or text such as `0.58`, `0.58 [0.52, 0.65]` or the dash of a missing one?"""
    if isinstance(value, str):
        return re.match(r"^[-−]?\d[\d.,]*(e[-+]?\d+)?( \[.*\])?$|^–$", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_plain(one) for one in value)
    return str(value)
