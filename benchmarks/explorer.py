"""The embedding explorer in headless Chromium: frames a second while points move, and what the mouse waits for.

    python benchmarks/explorer.py                  # 10 000 generated images, two networks: a minute
    python benchmarks/explorer.py --images 500 --networks 1

Asked for at 10 000 images: 30 frames/s, and a thumbnail within 50 ms. Playwright drives the browser that is on PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_lib.data.shapes import make_shapes
from course_lib.notebook.embedding_map import EmbeddingMap, explore_embedding
from course_lib.text import text_table

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FRAMES = """async frames => {  // every frame moves all points
  const last = Number(document.querySelector("input[type=range]").max), times = [];
  for (let i = 0; i <= frames; i++) {
    times.push(await new Promise(requestAnimationFrame));
    explorer.set({ step: last * (0.5 + 0.5 * Math.sin(i / 9)) });
  }
  return times.slice(1).map((time, i) => time - times[i]);
}"""
LISTEN = """() => {  // from a mouse event to the end of the frame that shows what came of it
  window.waits = [];
  const wait = event => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => waits.push(performance.now() - event.timeStamp);
    port2.postMessage(null);
  });
  for (const kind of ["pointermove", "pointerup"]) document.addEventListener(kind, wait, true);
}"""
PLACE = """([map, image]) => {
  const { over, x, y } = explorer.maps[map], { left, top } = over.getBoundingClientRect();
  return [left + x[image], top + y[image]];
}"""


def example(images: int, networks: int = 2, checkpoints: int = 3) -> EmbeddingMap:
    """Generated images with made-up features in which classes part in the course of training."""
    shapes, generator = make_shapes(images, seed=1, split="test"), torch.Generator().manual_seed(0)
    noise = torch.randn(images, 16, generator=generator)
    classes = torch.randn(8, 16, generator=generator)[shapes.labels]
    features = torch.stack([noise + 2 * classes * t / max(1, checkpoints - 1) for t in range(checkpoints)])
    return explore_embedding({f"network {i + 1}": features * (1 + i * torch.rand(16, generator=generator))
                              for i in range(networks)}, shapes)


@contextlib.contextmanager
def opened(explorer: EmbeddingMap, **options: Any) -> Iterator[Any]:
    """The explorer's page in headless Chromium, driven by Playwright; an error in the page is an error here."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explorer.html"
        path.write_text(explorer.html(), encoding="utf-8")
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page, errors = browser.new_page(viewport={"width": 1100, "height": 900}, **options), []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(path.as_uri())
        page.wait_for_function("window.explorer")
        yield page
        browser.close()
        assert not errors, errors[0]


def measured(explorer: EmbeddingMap, frames: int = 120, hovers: int = 60) -> list[list[str]]:
    """Rows: what, median, the slowest twentieth from."""
    def row(name: str, values: list[float], unit: str, digits: int = 0) -> list[str]:
        found = torch.tensor(values)
        middle, worst = found.median(), found.quantile(0.95 if unit == "ms" else 0.05)
        return [name, f"{middle:.{digits}f} {unit}", f"{worst:.{digits}f} {unit}"]

    with opened(explorer) as page:
        page.evaluate(FRAMES, 10)
        moving = [1000 / time for time in page.evaluate(FRAMES, frames)]
        page.evaluate("explorer.set({ step: 0, picked: 1 })")
        picked = [1000 / time for time in page.evaluate(FRAMES, frames)]
        page.evaluate("explorer.set({ picked: null })")
        page.evaluate(LISTEN)

        def waits(act: Any, times: int) -> list[float]:
            page.evaluate("waits.length = 0")
            for number in range(times):
                act(number)
                page.wait_for_function(f"waits.length > {number}")
            return page.evaluate("waits")

        order = torch.randperm(explorer.data["count"], generator=torch.Generator().manual_seed(0)).tolist()
        hover = waits(lambda i: page.mouse.move(*page.evaluate(PLACE, [0, order[i]])), hovers)
        box = page.locator("canvas").nth(1).bounding_box()

        def lasso(_: int) -> None:
            x, y, w, h = box["x"], box["y"], box["width"] / 2, box["height"]
            for i, place in enumerate([(x + 1, y + 1), (x + w, y + 1), (x + w, y + h - 1), (x + 1, y + h - 1)]):
                page.mouse.move(*place)
                page.mouse.down() if not i else None
            page.wait_for_timeout(100)
            page.evaluate("waits.length = 0")
            page.mouse.up()

        around = waits(lasso, 1)
        grouped = page.evaluate("explorer.state.group.length")
    return [row("frames while points move", moving, "frames/s"), row("the same, an image picked", picked, "frames/s"),
            row("from the mouse to the thumbnail", hover, "ms", 1),
            row(f"a lasso around {grouped:,} images", around, "ms")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--networks", type=int, choices=(1, 2), default=2)
    args = parser.parse_args(arguments)
    if CHROMIUM is None:
        print("There is no Chromium on PATH (Debian and Ubuntu: apt-get install chromium).", file=sys.stderr)
        return 2
    rows = measured(example(args.images, args.networks))
    print(text_table([[f"{args.images:,} images, {args.networks} maps", "median", "slowest twentieth"], *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
