"""The page of a report: everything inside, nothing executed, nothing half-written."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from course_lib.notebook import Report
from course_lib.plots.labels import label_curves, label_gains


def test_a_report_is_one_page_that_needs_nothing(tmp_path):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    report = Report("Does <it> help?", "# Answer", "3 < 4 & so on", [{"k": 1, "accuracy": "20 %"}], figure)
    page = report.save(tmp_path / "mine").read_text(encoding="utf-8")
    assert (tmp_path / "mine.html").exists()
    assert "Does &lt;it&gt; help?" in page and "3 &lt; 4 &amp; so on" in page and "<h4>Answer</h4>" in page
    assert "<td>20 %</td>" in page and "data:image/png;base64," in page
    assert "http" not in page and "<script" not in page


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="expected a text, a figure, or rows"):
        Report("t", 3)  # pyright: ignore[reportArgumentType]


def test_figures_of_few_labels_draw_every_draw():
    curves = {"raw pixels": {1: [0.1, 0.2], 5: [0.3, 0.3]}, "supervised": {5: [0.4]}}
    (axes,) = label_curves(curves, chance=0.125).axes
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == 5
    (axes,) = label_gains({1: [0.1, 0.3]}, {1: (0.0, 0.2, 0.4)}, ("one", "other")).axes
    assert axes.collections[0].get_offsets()[:, 1].tolist() == [10.0, 30.0]
    plt.close("all")
