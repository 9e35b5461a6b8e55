"""A notebook with a knob, a guess and a quiz in JupyterLab: alive, after its kernel restarted, and opened again."""

from __future__ import annotations

import nbformat
import pytest
from notebook.test_browser import CHROMIUM, _run_all, jupyterlab

CELLS = [
    "import matplotlib.pyplot as plt\nfrom course_lib.notebook import Slider, knob, predict\n"
    "from course_lib.exercises import quiz\n"
    "def view(s):\n    f, a = plt.subplots(figsize=(3, 2)); a.plot([0, s['gamma']]); return s['gamma'], f",
    "knob(view, title='Spectrum', gamma=Slider(0.0, 4.0, 1.0, 0.5));",
    "guess = predict('Which is it?', ['dense', 'sparse'])",
    "quiz('Why so?', {'because': 'Yes: so.', 'no idea': 'No: look.'}, 'because')",
    "print('all', 'done')",
]
TEXTS = ("Spectrum", "Which is it?", "Why so?")
DEAD = ("Error displaying widget", "Loading widget")


def _menu(page, menu: str, command: str) -> None:
    page.locator(".lm-MenuBar-itemLabel", has_text=menu).first.click()
    page.locator(f'li[data-command="{command}"]').click()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
def test_controls_leave_their_texts_and_pictures(tmp_path):
    """Bug: the next day "Error displaying widget: model not found" stood in place of each control."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    with jupyterlab(tmp_path) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{address}/lab/tree/a.ipynb", timeout=90_000)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
        _run_all(page)
        page.wait_for_selector('.jp-OutputArea-output:has-text("all done")', timeout=120_000)
        stills = page.locator("[class$=-still]")
        assert page.locator(".jupyter-widgets.widget-slider:visible").count() == 1
        assert stills.count() == 3 and not any(stills.nth(i).is_visible() for i in range(3))

        def only_stills(page):
            for text in TEXTS:
                page.wait_for_selector(f'[class$=-still]:has-text("{text}"):visible', timeout=30_000)
            assert not page.locator(".jupyter-widgets:visible").count()
            assert not any(page.locator(f".jp-OutputArea-output:has-text('{dead}'):visible").count() for dead in DEAD)
            assert page.locator(".jp-OutputArea-output img:visible").count() == 1

        page.keyboard.press("Control+s")
        page.wait_for_timeout(2000)
        _menu(page, "Kernel", "kernelmenu:restart")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        page.wait_for_timeout(5000)
        only_stills(page)
        _menu(page, "Kernel", "kernelmenu:shutdown")
        page.wait_for_timeout(2000)
        page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{address}/lab/tree/a.ipynb", timeout=90_000)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
        page.wait_for_timeout(6000)
        only_stills(page)
        browser.close()
