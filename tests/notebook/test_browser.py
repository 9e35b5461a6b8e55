"""A lesson in a real browser: JupyterLab, run all, a slider moved by the keyboard, the picture changes, no
error.

The lesson is the one that $COURSE_BROWSER_LESSON names ("demo" is the small one of the tests), else DEFAULT. A
screenshot is kept under artefacts/.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from explorer import CHROMIUM

from helpers.environment import ROOT, offline_environment
from helpers.lesson_tools import builder, desk, lessons

DEFAULT = "02_spark"
DONE = "every cell has run"
MINUTES = 25  # a lesson takes two on an idle machine


def _a_lesson(folder: Path) -> Path:
    wanted = os.environ.get("COURSE_BROWSER_LESSON", DEFAULT)
    found = [p for p in lessons() if p.stem == wanted]
    if not found and wanted != "demo":
        pytest.fail(f"COURSE_BROWSER_LESSON={wanted} is none of: {[p.stem for p in lessons()]}")
    if found:
        return desk(found[0], folder)
    path = folder / "00_demo.ipynb"
    assert builder().main([str(path), "--from", str(ROOT / "tests" / "helpers" / "demo_lesson.py"), "--no-run"]) == 0
    return path


@contextlib.contextmanager
def jupyterlab(folder: Path):
    """JupyterLab on loopback with settings of its own; -> its address."""
    settings = folder / ".jupyter" / "settings"
    # Cells far off the screen must be there, too; no news, no question whether to be told news.
    _write(settings / "@jupyterlab/notebook-extension/tracker.jupyterlab-settings", {"windowingMode": "none"})
    _write(
        settings / "@jupyterlab/apputils-extension/notification.jupyterlab-settings",
        {"fetchNews": "false", "checkForUpdates": False},
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = offline_environment(
        COURSE_WORKSPACE=str(folder),
        JUPYTER_CONFIG_DIR=str(folder / ".jupyter" / "config"),
        JUPYTERLAB_SETTINGS_DIR=str(settings),
        JUPYTERLAB_WORKSPACES_DIR=str(folder / ".jupyter" / "workspaces"),
        JUPYTER_RUNTIME_DIR=str(folder / ".jupyter" / "runtime"),
    )
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folder}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = folder / ".jupyter" / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
        address = f"http://127.0.0.1:{port}"
        try:
            limit = time.monotonic() + 120
            while True:
                assert server.poll() is None and time.monotonic() < limit, log.read_text()[-4000:]
                try:
                    urllib.request.urlopen(address + "/api/status", timeout=2).read()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.3)
            yield address
        finally:
            # On this signal the server ends its kernels before itself.
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _with_a_last_cell(path: Path) -> None:
    """Outputs away, so that what is seen was computed here, and a last cell to wait for."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.cells.append(nbformat.v4.new_code_cell(f"print(' '.join({DONE.split()!r}))"))
    nbformat.write(notebook, path)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(60 * MINUTES + 300)
@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)"
)
def test_a_lesson_in_the_browser(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    lesson = _a_lesson(tmp_path)
    _with_a_last_cell(lesson)
    artefacts = ROOT / "artefacts"
    artefacts.mkdir(exist_ok=True)
    with jupyterlab(tmp_path) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        try:
            page.goto(f"{address}/lab/tree/{lesson.name}", timeout=90_000)
            page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
            _run_all(page)
            errors = _errors(page)
            done = page.locator(f'.jp-OutputArea-output:has-text("{DONE}")')
            limit = time.monotonic() + 60 * MINUTES
            while not done.count():
                assert errors.count() == 0, errors.first.inner_text()
                assert time.monotonic() < limit, f"not finished after {MINUTES} minutes: see the screenshot"
                page.wait_for_timeout(1000)
            _move_a_slider(page)
            assert errors.count() == 0, errors.first.inner_text()
            assert page.locator(".jp-OutputArea-output:has-text('Error displaying widget')").count() == 0
        finally:
            page.screenshot(path=str(artefacts / f"browser_{lesson.stem}.png"))
            browser.close()


def _errors(page):
    """The outputs that are errors. JupyterLab draws them as it draws the stderr stream, where warnings are, too."""
    drawn = '[data-mime-type$="jupyter.stderr"], [data-mime-type$="jupyter.error"]'
    return page.locator(drawn, has_text=re.compile(r"Traceback \(most recent call last\)|SyntaxError:"))


def _run_all(page) -> None:
    """The menu's Run All, once the kernel is there (before that, JupyterLab asks which kernel is meant)."""
    idle = page.locator("#jp-main-statusbar", has_text="| Idle")
    question = page.locator(".jp-Dialog .jp-mod-accept")
    limit = time.monotonic() + 90
    while not idle.count() and time.monotonic() < limit:
        if question.count():
            question.first.click()
        page.wait_for_timeout(300)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator('li[data-command="runmenu:run-all"]').click()


def _move_a_slider(page) -> None:
    """Arrow keys on the sliders above pictures, until a picture's content changes (a prediction's slider moves
    none).
    """
    cells = page.locator(".jp-CodeCell:has(.noUi-handle):has(.jp-RenderedImage img)")
    tried = []
    for number in range(cells.count()):
        handle = cells.nth(number).locator(".noUi-handle").first
        image = cells.nth(number).locator(".jp-RenderedImage img").first
        handle.scroll_into_view_if_needed(timeout=30_000)
        readout = cells.nth(number).locator(".widget-readout").first  # aria-valuenow has one decimal only
        before, value = image.get_attribute("src"), readout.inner_text()
        for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):  # a slider at its end moves the other way
            handle.focus()
            handle.press(key)
            limit = time.monotonic() + 5
            while time.monotonic() < limit:
                if image.get_attribute("src") != before:
                    assert readout.inner_text() != value
                    return
                page.wait_for_timeout(100)
        tried.append(f"from {value} to {handle.get_attribute('aria-valuenow')}")
    raise AssertionError(f"sliders were moved {', '.join(tried) or '(none found)'}, and no picture changed")
