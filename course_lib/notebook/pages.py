"""Pages that a browser opens from the disk: scripts, styles and data are inside, nothing is loaded."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
BASE = ":root { color-scheme: light dark }"


class Part:
    """A place of a page that one of our scripts draws. name: of the .js and .css here, and the start of its ids.

    call: what is done with what `draw` returns, JavaScript in which `draw`, `element` and `data` are known.
    """

    def __init__(self, name: str, data: dict, call: str):
        self.name, self.data, self.call = name, data, call

    def css(self) -> str:
        return (HERE / f"{self.name}.css").read_text(encoding="utf-8")

    def html(self) -> str:
        data = json.dumps(self.data, default=lambda array: base64.b64encode(array).decode()).replace("<", "\\u003c")
        script = (HERE / f"{self.name}.js").read_text(encoding="utf-8")
        return (f"<div id='{self.name}'></div><script type='application/json' id='{self.name}-data'>{data}</script>"
                f"<script type='module'>\n{script}\nconst element = document.getElementById('{self.name}');\n"
                f"const data = JSON.parse(document.getElementById('{self.name}-data').textContent);\n{self.call}"
                "</script>")


def offline_page(title: str, *parts: Part | str, css: str = "") -> str:
    """A whole HTML document of parts in their order; a str is HTML as it stands."""
    styles = "\n".join([BASE, css, *(part.css() for part in parts if isinstance(part, Part))])
    body = "".join(part.html() if isinstance(part, Part) else part for part in parts)
    return (f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
            f"<meta name='viewport' content='width=device-width'><style>{styles}</style></head>"
            f"<body>{body}</body></html>")
