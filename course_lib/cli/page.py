"""An executed notebook as one HTML page that needs nothing beside it: no network, no scripts, no kernel."""

from __future__ import annotations

import copy
from html import escape
from pathlib import Path
from typing import Any

from course_lib.cli.formulas import FormulaError, mathml
from course_lib.notebook.cards import without_widget

# Folded cells stay folded; the rest of nbconvert's template loads scripts from the network.
TEMPLATE = """{%- extends 'index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
pre, .highlight pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.jp-OutputArea-output { overflow-x: auto; }
.jp-OutputArea-output img { max-width: 100%; height: auto; }
.course-folded > summary { cursor: pointer; color: #666; margin-left: var(--jp-cell-prompt-width, 64px); }
math[display=block] { margin: .6em 0; }
@media print { .jp-InputPrompt, .jp-OutputPrompt { display: none; } .jp-OutputArea-output { overflow: visible; } }
</style>{% endblock %}
{% block input_group %}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details class="course-folded"><summary>code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}
"""


def page(notebook: Any, name: str, folder: Path) -> str:
    """The HTML of a notebook (nbformat's NotebookNode). folder: where its pictures lie."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return _formula(body, True)

        def inline_math(self, body: str) -> str:
            return _formula(body, False)

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(escape=False, attachments=attachments, embed_images=True, path=str(folder))
            return MarkdownWithMath(renderer=renderer).render(source)

    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data = without_widget(output.data)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    html, _ = Exporter(embed_images=True, raw_template=TEMPLATE).from_notebook_node(
        notebook, resources={"metadata": {"name": name, "path": str(folder)}})
    return html


def _formula(body: str, display: bool) -> str:
    """MathML, or the source where `formulas` does not know it."""
    try:
        return mathml(body, display)
    except FormulaError:
        return f"<code>{escape(body)}</code>"
