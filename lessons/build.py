"""Make, run and clean the lesson notebooks (for authors; a learner never needs it).

    python lessons/build.py 03_vicreg                      run lessons/03_vicreg.ipynb afresh and save
    python lessons/build.py 03_vicreg --from draft.py      cells from a percent-format file first, then so
    python lessons/build.py 03_vicreg --from draft.py --no-run    only the cells (unchanged ones keep outputs)
    python lessons/build.py 03_vicreg --to-source draft.py     write the cells as such a file, to edit

The percent format is plain Python; a line that starts with `# %%` opens a cell:

    # %% [markdown]
    # Text, one comment sign in front of each line (or the whole cell in one pair of triple quotes).

    # %% tags=["nbval-check-output"] exercise="03.variance" id="variance-stub"
    def variance(z): ...

What stands after `# %%` as name=value (JSON values) becomes the cell's metadata; `id` becomes its id and
`hide=true` folds the source away. Ids stay stable without being written: a cell that did not change keeps its
id, a changed one in the same place as well. Saved notebooks have outputs but no time stamps, no widget state
and nothing of this machine.
"""

from __future__ import annotations

import argparse
import ast
import base64
import difflib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
MARKER = re.compile(r"^# ?%%(?P<rest>.*)$")
ATTRIBUTE = re.compile(r'(\w[\w-]*)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^\s]+)')
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}


# ---------------------------------------------------------------- percent format <-> cells


def parse(text: str) -> list[dict]:
    """Percent-format text -> list of {"type", "source", "metadata", "id"}; text before the first marker is
    left out."""
    cells: list[dict] = []
    for number, line in enumerate(text.splitlines(), 1):
        marker = MARKER.match(line)
        if marker:
            rest = marker["rest"]
            kind = "markdown" if "[markdown]" in rest else "code"
            cells.append({"type": kind, "lines": [], "metadata": _attributes(rest, number), "line": number})
        elif cells:
            cells[-1]["lines"].append(line)
    for cell in cells:
        body = "\n".join(cell.pop("lines")).strip("\n").rstrip()
        cell["source"] = _markdown(body) if cell["type"] == "markdown" else body
        cell["id"] = cell["metadata"].pop("id", None)
        if cell["metadata"].pop("hide", False):
            cell["metadata"]["jupyter"] = {"source_hidden": True}
    return [cell for cell in cells if cell["source"]]


def _attributes(rest: str, line: int) -> dict:
    found = {}
    for name, value in ATTRIBUTE.findall(rest.replace("[markdown]", "")):
        try:
            found[name] = json.loads(value)
        except ValueError:
            raise SystemExit(
                f"line {line}: {name}={value} is not JSON: write strings in double quotes"
            ) from None
    return found


def _markdown(body: str) -> str:
    quoted = re.fullmatch(r'[rR]?("""|\'\'\')\n?(.*?)\n?\1', body, flags=re.S)
    if quoted:
        return quoted[2].strip("\n")
    return "\n".join(re.sub(r"^# ?", "", line) for line in body.splitlines()).strip("\n")


def to_source(notebook) -> str:
    """The inverse of `parse`, with every id and every metadata item written out."""
    parts = []
    for cell in notebook.cells:
        items = {k: v for k, v in cell.metadata.items() if k != "jupyter"}
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            items["hide"] = True
        items["id"] = cell.id
        head = "# %%" + (" [markdown]" if cell.cell_type == "markdown" else "")
        head += "".join(f" {k}={json.dumps(v)}" for k, v in items.items())
        body = cell.source
        if cell.cell_type == "markdown":
            body = "\n".join(f"# {line}".rstrip() for line in body.splitlines())
        parts.append(f"{head}\n{body}\n")
    return "\n".join(parts)


def with_ids(cells: list[dict], old: list, name: str) -> list[str]:
    """An id for each cell: the one it asks for, else that of the matching cell in `old`, else a hash of its
    text."""

    def keys(items, kind, source):
        return [(kind(c), source(c)) for c in items]

    before = keys(old, lambda c: c.cell_type, lambda c: c.source)
    now = keys(cells, lambda c: c["type"], lambda c: c["source"])
    ids: list[str | None] = [cell["id"] for cell in cells]
    taken = {i for i in ids if i}
    for op, a0, a1, b0, b1 in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if op == "equal" or (op == "replace" and a1 - a0 == b1 - b0):
            for a, b in zip(range(a0, a1), range(b0, b1)):
                if ids[b] is None and old[a].id not in taken and old[a].cell_type == cells[b]["type"]:
                    ids[b] = old[a].id
                    taken.add(ids[b])
    for b, cell in enumerate(cells):
        salt = 0
        while ids[b] is None:
            digest = hashlib.sha1(f"{name}/{salt}/{cell['type']}/{cell['source']}".encode()).hexdigest()[:8]
            if digest not in taken:
                ids[b] = digest
                taken.add(digest)
            salt += 1
    doubled = {i for i in ids if ids.count(i) > 1}
    if doubled:
        raise SystemExit(f"two cells ask for the same id: {', '.join(sorted(map(str, doubled)))}")
    return [str(i) for i in ids]


def assemble(text: str, path: Path):
    """A notebook from percent-format text; cells that did not change keep the outputs stored at `path`."""
    import nbformat

    old = nbformat.read(path, as_version=4).cells if path.exists() else []
    stored = {c.id: c for c in old}
    cells = parse(text)
    if not cells:
        raise SystemExit("no cells found: a cell opens with a line that starts with '# %%'")
    notebook = nbformat.v4.new_notebook(metadata=METADATA)
    for cell, cell_id in zip(cells, with_ids(cells, old, path.stem)):
        make = nbformat.v4.new_markdown_cell if cell["type"] == "markdown" else nbformat.v4.new_code_cell
        made = make(cell["source"], id=cell_id, metadata=cell["metadata"])
        if cell["type"] == "code":
            _complain(cell)
            before = stored.get(cell_id)
            if before is not None and before.source == cell["source"]:
                made.outputs, made.execution_count = before.outputs, before.execution_count
        notebook.cells.append(made)
    return notebook


def _complain(cell: dict) -> None:
    code = "\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in cell["source"].splitlines())
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise SystemExit(f"line {cell['line'] + (error.lineno or 0)}: {error.msg} in a code cell") from None


# ---------------------------------------------------------------- run and clean


def execute(notebook, timeout: int = 300) -> float:
    """Run every cell in a fresh kernel of this Python, in lessons/; returns the seconds. Progress goes
    nowhere."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    started: dict[int, float] = {}
    slow: list[str] = []

    def begin(cell, cell_index, **_):
        started[cell_index] = time.perf_counter()

    def end(cell, cell_index, **_):
        seconds = time.perf_counter() - started[cell_index]
        if seconds > 3:
            slow.append(f"  {seconds:5.1f} s  cell {cell_index}  {cell.source.strip().splitlines()[0][:80]}")

    # This Python's kernel, not one that the user registered under the same name.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    env = {k: v for k, v in os.environ.items() if k not in ("COURSE_WORKSPACE", "MPLBACKEND")}
    paths = [str(HERE.parent), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    env["COURSE_BUILD"] = "1"  # a `finding` that does not hold stops the build
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        startup_timeout=180,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
        store_widget_state=False,
        on_cell_start=begin,
        on_cell_executed=end,
    )
    start = time.perf_counter()
    try:
        client.execute(env=env)
    except CellExecutionError as error:
        raise SystemExit(f"a cell failed, nothing was saved:\n{error}") from None
    seconds = time.perf_counter() - start
    print("\n".join(slow) if slow else "  no cell took longer than 3 s")
    return seconds


def clean(notebook) -> None:
    """Drop what differs between machines and moments: time stamps, widget models, interpreter versions, busy cores."""
    from course_lib.notebook.cards import without_widget
    from course_lib.threads import BUSY, FREE

    notebook.metadata.clear()
    notebook.metadata.update(json.loads(json.dumps(METADATA)))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        for name in ("execution", "trusted", "collapsed", "scrolled", "editable", "slideshow"):
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(line for line in lines if not line.startswith((BUSY, FREE)))
                if not output.text:
                    continue
            if "data" in output:
                # The knobs and quizzes put a static picture or text beside each control: that is what stays.
                output.data = without_widget(output.data)
                if not output.data:
                    continue
                output.metadata.pop(WIDGET, None)
                if "image/png" in output.data:
                    output.data["image/png"] = smaller(output.data["image/png"])
            kept.append(output)
        cell.outputs = kept


def smaller(png: str) -> str:
    """The same picture (base64) in fewer bytes: without an alpha channel that says nothing."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "RGBA" and picture.getextrema()[3] == (255, 255):
        picture = picture.convert("RGB")
    out = io.BytesIO()
    picture.save(out, "png", optimize=True)
    made = base64.b64encode(out.getvalue()).decode()
    return made if len(made) < len(png) else png


def machine_marks(notebook) -> list[str]:
    """Outputs that name a place on this machine: sentences, empty when all is well."""
    places = {sys.prefix, str(HERE.parent), str(Path.home()), tempfile.gettempdir() + "/ipykernel"}
    places = {p for p in places if len(p) > 1}
    found = []
    for index, cell in enumerate(notebook.cells):
        text = json.dumps([{k: v for k, v in o.items() if k != "metadata"} for o in cell.get("outputs", [])])
        text = re.sub(r'"image/[a-z+]*": "[^"]*"', "", text)
        found += [f"cell {index} prints a path of this machine: {p}" for p in sorted(places) if p in text]
    return found


def summary(notebook, path: Path) -> str:
    words = sum(
        len(re.findall(r"[A-Za-z0-9'-]+", c.source)) for c in notebook.cells if c.cell_type == "markdown"
    )
    code = [c.source.splitlines() for c in notebook.cells if c.cell_type == "code"]
    return (
        f"  {len(notebook.cells)} cells, {words} words, {sum(map(len, code))} code lines (longest cell "
        f"{max(map(len, code), default=0)}), {path.stat().st_size / 1e6:.2f} MB"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("lesson", help="its name, such as 03_vicreg, or a path that ends in .ipynb")
    parser.add_argument(
        "--from", dest="source", metavar="FILE.py", help="make the cells from this percent-format file"
    )
    parser.add_argument(
        "--to-source", metavar="FILE.py", help="write the cells as a percent-format file and stop"
    )
    parser.add_argument("--no-run", action="store_true", help="do not execute, only make and clean")
    parser.add_argument("--timeout", type=int, default=300, help="seconds that one cell may take (300)")
    options = parser.parse_args(arguments)

    import nbformat

    path = Path(options.lesson) if options.lesson.endswith(".ipynb") else HERE / f"{options.lesson}.ipynb"
    if options.source:
        notebook = assemble(Path(options.source).read_text(encoding="utf-8"), path)
    elif path.exists():
        notebook = nbformat.read(path, as_version=4)
    else:
        names = ", ".join(sorted(p.stem for p in HERE.glob("*.ipynb"))) or "none yet"
        raise SystemExit(f"no lesson at {path.name}; there are: {names}")
    if options.to_source:
        Path(options.to_source).write_text(to_source(notebook), encoding="utf-8")
        return 0
    if not options.no_run:
        print(f"{path.name}: {execute(notebook, options.timeout):.1f} s")
    clean(notebook)
    nbformat.validate(notebook)
    temporary = path.with_suffix(".ipynb.tmp")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)
    print(summary(notebook, path))
    marks = machine_marks(notebook)
    print("\n".join("  " + m for m in marks))
    return 1 if marks else 0


if __name__ == "__main__":
    sys.exit(main())
