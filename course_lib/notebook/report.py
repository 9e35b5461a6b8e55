"""A page that says what was found: sentences, tables and figures in one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from course_lib.files import write_text
from course_lib.notebook.knobs import picture
from course_lib.notebook.pages import offline_page

CSS = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid; } img { max-width: 100%; } @media print { body { margin: 0 auto; font-size: 12px; } }"""
Part = str | Figure | Sequence[Mapping[str, Any]]


class Report:
    """Parts in their order: "# a heading" or a paragraph, a figure, or a table as a list of rows (name -> value).

    It shows itself in a notebook; `save` writes the page. TypeError for a part of another kind.
    """

    def __init__(self, title: str, *parts: Part):
        self.title, self.body = title, "".join(_html(part) for part in parts)

    def save(self, path: str | Path) -> Path:
        """Write the page; a file that is there is replaced. -> where it lies."""
        path = Path(path).expanduser().with_suffix(".html")
        write_text(path, offline_page(self.title, f"<h1>{escape(self.title)}</h1>{self.body}", css=CSS))
        return path

    def __repr__(self) -> str:
        return f"Report({self.title!r}): report.save('my_report.html') writes the page"

    def _repr_html_(self) -> str:
        return f"<div style='max-width:46em'><h3>{escape(self.title)}</h3>{self.body}</div>"


def _html(part: Part) -> str:
    if isinstance(part, str):
        heading = part.startswith("# ")
        return f"<h4>{escape(part[2:])}</h4>" if heading else f"<p>{escape(part)}</p>"
    if isinstance(part, Figure):
        return f"<img alt='figure' src='data:image/png;base64,{picture(part, '')['image/png']}'>"
    if isinstance(part, Sequence) and all(isinstance(row, Mapping) for row in part) and part:
        heads = "".join(f"<th>{escape(str(name))}</th>" for name in part[0])
        rows = "".join("<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row.values()) + "</tr>"
                       for row in part)
        return f"<table><tr>{heads}</tr>{rows}</table>"
    raise TypeError(f"a part of a report is {type(part).__name__}; expected a text, a figure, or rows of a table.")
