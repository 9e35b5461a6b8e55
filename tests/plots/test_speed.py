"""Figures about speed: what they say of the numbers that they get."""

from __future__ import annotations

import pytest

from course_lib.plots import speed


def texts(figure) -> list[str]:
    """All that is written in a figure: annotations, titles, tick labels and legends."""
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return found + [axes.title.get_text() + axes.get_title("left") for axes in figure.axes]


def lines(axes) -> list[list[float]]:
    return [[float(x) for x in line.get_xdata()] for line in axes.lines]


def test_ratios_show_rounds_their_median_and_its_interval():
    figure = speed.ratio_lines({"a": [1.0, 3.0, 2.0], "b": [500.0, 1.0, 1.0]}, {"a": (1.0, 3.0), "b": (1.0, 1.0)})
    drawn = lines(figure.axes[0])
    assert [1.0, 3.0, 2.0] in drawn and [2.0] in drawn and [1.0, 3.0] in drawn
    assert [8.0, 1.0, 1.0] in drawn, "what is far out is drawn at the edge"
    assert {"a", "b", "2.00", "1.00"} <= set(texts(figure))


def test_roofs_meet_where_memory_keeps_up():
    figure = speed.roofline(100e9, {"copy": 10e9, "cache": 50e9}, {"a layer": (2.0, 15e9)})
    assert figure.axes[0].lines[0].get_xdata()[1] == pytest.approx(10)
    assert figure.axes[0].lines[0].get_ydata()[1:] == pytest.approx([100, 100])
    assert figure.axes[0].lines[1].get_xdata()[1] == pytest.approx(2)
    assert [2.0] in lines(figure.axes[0])
    assert {"copy: 10 GB/s", "cache: 50 GB/s", "a layer", "100 GFLOP/s"} <= set(texts(figure))


def test_rates_by_size_are_in_units_that_are_named():
    figure = speed.rates_by_size([1000, 1_000_000], [2e9, 8e9], {"maps": 1_000_000})
    assert [0.001, 1.0] in lines(figure.axes[0]) and "maps" in texts(figure)
    assert list(figure.axes[0].lines[0].get_ydata()) == [2, 8]


def test_bars_of_stages_add_up_and_keep_their_colours():
    figure = speed.stage_bars({"measured": {"views": 0.01, "forward": 0.05}, "floor": {"forward": 0.02}})
    assert {"60 ms", "20 ms", "measured", "floor", "views", "forward"} <= set(texts(figure))
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(80)
    assert bars[1].get_facecolor() == bars[2].get_facecolor() != bars[0].get_facecolor()


def test_reports_say_how_many_are_off():
    figure = speed.reported([1.0, 1.05, 1.2, 0.5], 1.0, 1.1, [1.0, 2.0])
    assert "50% are off by more than 10%" in texts(figure)


def test_the_fit_goes_through_the_points_that_were_used():
    figure = speed.exponent_fit([1, 2, 4], [5.0, 4.0, 16.0], [False, True, True], 2.0, "tokens", "seconds")
    fit, every, used = figure.axes[0].lines
    assert list(fit.get_ydata()) == pytest.approx([1, 4, 16])
    assert len(every.get_xdata()) == 3 and list(used.get_xdata()) == [2, 4]
    assert "exponent 2.00" in texts(figure)
