"""Counted nouns, sentences with *emphasis* as HTML, and rows of cells as a table in text, Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

Rows = Sequence[Sequence[str]]
# a pair of stars close around words; not those of a * b, x**2, f(*pair)
EMPHASIS = re.compile(r"(?<![\w*)\]])\*(?=[^\s*])([^*\n]*[^\s*(\[])\*(?![\w*(])")


def counted(number: float, thing: str) -> str:
    """A number with its noun: "1 epoch", "0.5 epochs", "12,000 pictures"."""
    return f"{number:{',' if isinstance(number, int) else 'g'}} {thing}{'' if number == 1 else 's'}"


def prose(text: str) -> str:
    """A sentence as HTML: escaped, *emphasis* in italics; stars that multiply or unpack stay."""
    return EMPHASIS.sub(r"<em>\1</em>", escape(text))


def text_table(rows: Rows, align: str = "<", markdown: bool = False) -> str:
    """Rows of equal length as an aligned table, in Markdown with the first row as heading.

    align: "<" or ">" for each column; the last one also holds for the columns that follow.
    """
    align = align.ljust(len(rows[0]), align[-1])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * max(3, width) if side == "<" else "-" * max(2, width - 1) + ":" for side, width in zip(align, widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


# Sorts a table by the heading that is clicked: numbers by size, the largest first, words by the alphabet, "-" last; a
# second click turns the order round. An attribute of the heading's row: no script has to run in the page.
SORT = (
    "const head=event.target.closest('th'),table=this.closest('table'),turn=head.dataset.turn==='1'?-1:1;"
    "const value=row=>{const text=row.cells[head.cellIndex].innerText.trim(),number=parseFloat(text);"
    "return text===''||text==='-'?null:isNaN(number)?text:number};"
    "const order=(a,b)=>{const x=value(a),y=value(b);if(x===null||y===null)return(x===null)-(y===null);"
    "return turn*(typeof x==='number'&&typeof y==='number'?y-x:String(x).localeCompare(String(y)))};"
    "[...table.rows].slice(1).sort(order).forEach(row=>row.parentNode.append(row));head.dataset.turn=turn"
)


def html_table(rows: Rows, head: bool = False, edges: Sequence[str] = (), sort: bool = False) -> str:
    """Rows as a left-aligned HTML table.

    head: the first row is a heading; edges: a colour "r,g,b" next to each row; sort: a click on a heading sorts.
    """
    lines = []
    for number, row in enumerate(rows):
        kind = "th" if head and number == 0 else "td"
        looks = ["text-align:left"] * len(row)
        if edges:
            looks[0] += f";border-left:6px solid rgb({edges[number]})"
        cells = "".join(f"<{kind} style='{look}'>{escape(cell)}</{kind}>" for look, cell in zip(looks, row))
        sorts = f' style="cursor:pointer" title="click to sort" onclick="{escape(SORT)}"'
        lines.append(f"<tr{sorts if sort and number == 0 else ''}>{cells}</tr>")
    return "<table>" + "".join(lines) + "</table>"
