"""What surrounds the explorers, in JupyterLab in its dark theme: the stop button, guesses and quizzes that survive a
restart, outcomes that wait for the guess, and text that can be read.
"""

from __future__ import annotations

import nbformat
import pytest
from notebook.test_browser import CHROMIUM, _run_all, _write, jupyterlab

CELLS = [
    "from course_lib.notebook import LiveCurves, predict\nfrom course_lib.exercises import check, progress, quiz",
    "guess = predict('Which is it?', ['dense', 'sparse'])\nhow = predict('How much?', (0, 100), unit='%')",
    "guess.reveal('dense', 'Because.')\nhow.reveal(20, 'Therefore.')",
    "quiz('Why so?', {'because': 'Yes: so.', 'no idea': 'No: look.'}, 'because')",
    "check('03.variance', lambda z, gamma=1.0, eps=1e-4: z.sum())",
    "from course_lib.exercises import solution\ndisplay(solution('03.variance'))\nprogress()",
    "from course_lib.data import make_shapes\nfrom course_lib.methods import build_method\n"
    "from course_lib.train import fit\n"
    "run = fit(build_method('vicreg', 'convnet', 16, width=16), make_shapes(256, size=16), steps=10**6,\n"
    "          batch_size=64, progress=False, watch=LiveCurves(every=0.5))\nprint('kept', run.steps > 0)",
    "print('after', 'wards')",
]
CONTRASTS = """cell => {  // of each text of a cell's output with what is behind it (WCAG's ratio)
  const numbers = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = node => {
    const [r, g, b, a = 1] = node ? numbers(getComputedStyle(node).backgroundColor) : [255, 255, 255];
    if (a === 1 || !node) return [r, g, b];
    return ground(node.parentElement).map((v, i) => v * (1 - a) + a * [r, g, b][i]);
  };
  const walk = document.createTreeWalker(cell.querySelector(".jp-Cell-outputArea"), NodeFilter.SHOW_TEXT), found = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const owner = node.parentElement, text = node.textContent.trim();
    if (!text || !owner.checkVisibility() || owner.closest("style")) continue;
    const [a, b] = [numbers(getComputedStyle(owner).color).slice(0, 3), ground(owner)].map(light).sort((x, y) => y - x);
    found.push([text, (a + .05) / (b + .05)]);
  }
  return found;
}"""


def _text(page, text: str, **options):
    return page.wait_for_selector(f'.jp-OutputArea-output:has-text("{text}")', timeout=120_000, **options)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
def test_stop_guess_restart_and_dark(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "03_mini.ipynb")
    themes = tmp_path / ".jupyter/settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    _write(themes, {"theme": "JupyterLab Dark"})
    with jupyterlab(tmp_path) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{address}/lab/tree/03_mini.ipynb", timeout=90_000)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
        _run_all(page)
        cells = page.locator(".jp-CodeCell")

        # the stop button: the cell ends and has its run, the next one is not run, and nothing looks like an error
        page.wait_for_selector(".jp-RenderedImage img", timeout=120_000)  # the live figure
        page.locator('[data-command="notebook:interrupt-kernel"], [data-jp-item-name="interrupt"] button').first.click()
        _text(page, "cells that were waiting are not run")
        _text(page, "kept True")
        page.wait_for_selector('#jp-main-statusbar :text("| Idle")', timeout=30_000)
        assert not page.locator('.jp-OutputArea-output:has-text("after wards")').count()
        assert "Traceback" not in cells.nth(6).inner_text()

        # outcomes wait for the guess, and this lesson's exercises come first
        assert cells.nth(2).locator("details:not([open])").count() == 2
        assert "Because." not in cells.nth(2).locator(".jp-Cell-outputArea").inner_text()
        assert "This lesson: 0 of" in cells.nth(5).inner_text()
        cells.nth(1).locator("button", has_text="sparse").click()
        cells.nth(1).locator("button", has_text="this is my guess").last.click()
        page.wait_for_selector('.jp-OutputArea-output:has-text("Not as guessed")', timeout=30_000)
        playwright.expect(cells.nth(2).locator("details")).to_have_count(0, timeout=30_000)
        cells.nth(3).locator("input[type=radio]").nth(1).click()
        _text(page, "Not quite. No: look.")

        # all that is written can be read
        for number in range(1, 6):
            for text, contrast in cells.nth(number).evaluate(CONTRASTS):
                assert contrast >= 4.5, f"{text!r} in cell {number} has a contrast of {contrast:.1f}"

        # in a new kernel they are as they were
        page.locator(".lm-MenuBar-itemLabel", has_text="Kernel").first.click()
        page.locator('li[data-command="kernelmenu:restart-and-clear"]').click()
        page.locator(".jp-Dialog .jp-mod-accept").click()
        page.wait_for_timeout(2000)
        cells.nth(3).locator(".jp-InputArea-editor").click()
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        page.locator('li[data-command="notebook:run-all-above"]').click()
        cells.nth(3).locator(".jp-InputArea-editor").click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector('.jp-OutputArea-output:has-text("Not as guessed")', timeout=120_000)
        page.wait_for_selector('.jp-OutputArea-output:has-text("Not quite. No: look.")', timeout=60_000)
        picked = cells.nth(1).locator("button.mod-active", has_text="sparse")
        playwright.expect(picked).to_have_count(1, timeout=60_000)
        browser.close()
