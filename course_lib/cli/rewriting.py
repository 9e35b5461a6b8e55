"""Copies next to a learner's notebook: theirs with updated imports, and the course's newer one with their answers."""

from __future__ import annotations

import ast
import json
import re
import warnings
from itertools import accumulate
from pathlib import Path

from course_lib.files import write_bytes
from course_lib.moved import MODULES, place

MARK = ".moved"                                             # 03_vicreg.moved.ipynb


def write_updated_copies(workspace: Path) -> list[tuple[str, str]]:
    """Write NAME.moved.ipynb next to each notebook in `workspace` with outdated imports; returns [(theirs, copy)].

    Only those imports differ. Existing copies stay, as they may hold work; hidden folders and unreadable notebooks are
    skipped.
    """
    offered = []
    for path in sorted(workspace.rglob("*.ipynb")):
        name, beside = path.relative_to(workspace), path.with_name(f"{path.stem}{MARK}.ipynb")
        if path.stem.endswith(MARK) or beside.exists() or any(part.startswith(".") for part in name.parts):
            continue
        try:
            notebook = json.loads(path.read_bytes())
            changed = False
            for cell in notebook["cells"]:
                source = "".join(cell["source"])
                if cell["cell_type"] == "code" and (new := rewritten(source)) != source:
                    cell["source"], changed = new.splitlines(keepends=True), True
            data = json.dumps(notebook, indent=1, ensure_ascii=False).encode()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if changed:
            write_bytes(beside, data + b"\n")
            offered.append((name.as_posix(), beside.relative_to(workspace).as_posix()))
    return offered


def without_outcomes(notebook: bytes) -> bytes:
    """A lesson whose cells that reveal the outcome of a guess are as if they had not been run; else unchanged."""
    try:
        document, changed = json.loads(notebook), False
        for cell in document["cells"]:
            if cell["cell_type"] == "code" and ".reveal(" in "".join(cell["source"]) and cell["outputs"]:
                cell["outputs"], cell["execution_count"], changed = [], None, True
    except (ValueError, KeyError, TypeError, AttributeError):
        return notebook
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n" if changed else notebook


def with_answers(notebook: bytes, answers: dict[str, str]) -> bytes:
    """A lesson with each stub that the learner has solved replaced by their right answer; else unchanged.

    answers: exercise -> source of a function or class. Cells name their exercise in their metadata.
    """
    try:
        document, changed = json.loads(notebook), False
        for cell in document["cells"]:
            answer = answers.get(cell.get("metadata", {}).get("exercise"), "")
            source = "".join(cell["source"])
            if answer and (new := _answered(source, answer)) != source:
                cell["source"], changed = new.splitlines(keepends=True), True
    except (ValueError, KeyError, TypeError, AttributeError):
        return notebook
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n" if changed else notebook


def _answered(source: str, answer: str) -> str:
    """A cell with the definition that has the answer's name replaced by the answer."""
    def definitions(code: str) -> list[ast.FunctionDef | ast.ClassDef]:
        tree = _parsed(code)
        return [node for node in (tree.body if tree else []) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]

    names = [node.name for node in definitions(answer)]
    for node in definitions(source):
        if node.name in names:
            lines = source.splitlines(keepends=True)
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join([*lines[:first - 1], answer.rstrip("\n") + "\n", *lines[node.end_lineno:]])
    return source


def rewritten(code: str) -> str:
    """A cell's code with its outdated imports rewritten and everything else, IPython's lines included, unchanged."""
    tree = _parsed(code) or _parsed(re.sub(r"(?m)^([ \t]*)[%!?].*$", r"\1pass", code))
    if tree is None:
        return code
    data = code.encode()
    starts = list(accumulate(map(len, data.splitlines(keepends=True)), initial=0))    # in bytes, as in ast
    edits = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Attribute)):
            assert node.end_lineno is not None and node.end_col_offset is not None  # ast.parse fills them
            line = starts[node.lineno - 1]
            start, end = line + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            edits.append((start, end, _updated(node, data[start:end].decode(), data[line:start].decode())))
    for start, end, new in sorted(edits, reverse=True):
        if new:
            data = data[:start] + new.encode() + data[end:]
    return data.decode()


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):           # about the learner's strings, such as "\d"
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _updated(node: ast.Import | ast.ImportFrom | ast.Attribute, text: str, before: str) -> str:
    """The new source of an import, or of `course_lib.knobs` in `course_lib.knobs.Knob`; "" if nothing moved.

    text, before: the source of the node, and of its line before it.
    """
    if isinstance(node, ast.Attribute):
        of_library = isinstance(node.value, ast.Name) and node.value.id == "course_lib" and node.attr in MODULES
        return f"course_lib.{MODULES[node.attr]}" if of_library else ""
    if isinstance(node, ast.Import):
        old = [alias.name for alias in node.names]
        for alias in node.names:
            library, _, module = alias.name.partition(".")
            if library == "course_lib" and module in MODULES:
                alias.name = f"course_lib.{MODULES[module]}"
        return ast.unparse(node) if [alias.name for alias in node.names] != old else ""
    library, _, module = (origin := node.module or "").partition(".")
    if library != "course_lib" or node.level:
        return ""
    found = [(alias, *place(module, alias.name)) for alias in node.names]
    if all((at, name) == (module, alias.name) for alias, at, name in found):
        return ""
    if len({at for _, at, _ in found}) == 1 and all(name == alias.name for alias, _, name in found):
        return text.replace(origin, f"course_lib.{found[0][1]}", 1)    # keeps its lines and comments
    groups: dict[str, list[ast.alias]] = {}
    for alias, at, name in found:
        kept = alias.asname or (alias.name if name != alias.name else None)
        groups.setdefault(f"course_lib.{at}".rstrip("."), []).append(ast.alias(name, kept))
    lines = [ast.unparse(ast.ImportFrom(at, names, 0)) for at, names in groups.items()]
    if before.strip():
        return "; ".join(lines)
    return f"\n{before}".join(re.findall("#.*", text) + lines)
