"""The stored figures as data, a run planned from a rate, and the pictures of both."""

from __future__ import annotations

import json

import pytest

from course_lib.plots import speed as speed_plots
from course_lib.runs.speed import NOT_MEASURED, Figures, figures_file, read_figures, run_hours

PLACE = {"device": "cpu", "cpu": "a CPU", "threads": 2, "cores": 4, "versions": {"torch": "2.9"}, "commit": "abc"}
WORK = {"method": "vicreg", "backbone": "convnet", "size": 32, "batch": 4, "device": "cpu"}


def row(value: str = "1 ms", beside: str = "", **data) -> dict:
    return {"figure": "a figure", "value": value, "target": "-", "holds": None, "beside": beside, "data": data}


def stored(*rows: dict) -> Figures:
    return Figures({"peers": {"measured_on": PLACE, "rows": list(rows)}})


def texts(figure) -> list[str]:
    """All that is written in a figure: annotations, titles, tick labels and legends."""
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return found + [axes.title.get_text() + axes.get_title("left") for axes in figure.axes]


# ------------------------------------------------------------------------------------------------ reading
def test_without_a_file_every_group_says_how_to_measure_it(tmp_path):
    figures = read_figures(tmp_path / "nothing.json")
    assert figures.groups == {} and figures.pick("peers", kind="rate") == []
    assert "figures.py --only peers" in figures.about("peers") and "Nobody" in figures.about("peers")


def test_rows_are_picked_by_their_numbers(tmp_path, monkeypatch):
    groups = stored(row("2x", kind="rate", library="lightly", ratios=[1, 2]), row("3x", kind="rate", library="other"),
                    {"figure": "older", "value": "3 ms", "beside": ""}, row(kind="peak")).groups
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"groups": groups}), encoding="utf-8")
    monkeypatch.setenv("COURSE_FIGURES", str(path))
    figures = read_figures()
    assert figures_file() == path and len(figures.pick("peers", kind="rate")) == 2
    assert figures.pick("peers", library="lightly") == [
        {"value": "2x", "beside": "", "kind": "rate", "library": "lightly", "ratios": [1, 2]}]
    assert "a CPU" in figures.about("peers") and "2 of 4 threads" in figures.about("peers")
    assert figures.pick("limit") == []
    figures.groups["peers"]["measured_on"]["again"] = {"byol": "abc1"}
    assert figures.about("peers").endswith("; byol again at abc1.")


@pytest.mark.parametrize("text", ["{", "[]", '{"groups": {"peers": {"rows": []}}}', '{"groups": 3}', json.dumps(
    {"groups": {"peers": {"measured_on": PLACE, "rows": [{"figure": "no value"}]}}})])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "figures.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="figures.json cannot be read"):
        read_figures(path)


# ------------------------------------------------------------------------------------------------ planning
def test_hours_follow_from_a_rate():
    assert run_hours(3600, 2, 1) == pytest.approx(2)
    assert run_hours(3600, 2, 1, devices=8) == pytest.approx(2 / 8)
    assert run_hours(3600, 2, 1, devices=8, kept=0.5) == pytest.approx(2)  # three doublings, each of no use
    assert run_hours(3600, 2, 1, devices=1, kept=0.5) == pytest.approx(2)
    assert run_hours(3600, 2, 1, devices=8, feed=4) == pytest.approx(2 / 4)  # more than four wait for pictures


@pytest.mark.parametrize("wrong", [dict(rate=0), dict(kept=1.1), dict(kept=0), dict(devices=0), dict(feed=-1),
                                   dict(rate=float("nan"))])
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*above 0"):
        run_hours(**{**dict(images=10, epochs=1, rate=1), **wrong})


# ------------------------------------------------------------------------------------------------ pictures
def test_ratios_show_rounds_targets_and_what_is_not_there():
    rate = dict(kind="rate", library="lightly", wanted=4.0, **WORK)
    rows = stored(row(how="defaults", ratios=[3.0, 5.0, 4.5], **rate),
                  row(how="equal", ratios=[2.0], **{**rate, "wanted": None}),
                  row(NOT_MEASURED, kind="rate", library="torchvision", **WORK)).pick("peers", kind="rate")
    figure = speed_plots.ratios(rows)
    said = texts(figure)
    assert "torchvision: not measured" in said and {"VICReg, convnet", "target", "over lightly"} <= set(said)
    xs = [[float(x) for x in line.get_xdata()] for line in figure.axes[0].lines]
    assert [3.0, 5.0, 4.5] in xs and [4.5] in xs and [4.0, 4.0] in xs  # rounds, their median, the target
    assert not any(line.get_label() == "target" for line in figure.axes[1].lines)


def test_bars_of_stages_add_up():
    bars = {"course": dict.fromkeys(speed_plots.STAGES, 0.01), "lightly": dict.fromkeys(speed_plots.STAGES, 0.02)}
    figure = speed_plots.stage_bars(bars, title="a setting")
    assert {"60 ms", "120 ms", "a setting", *speed_plots.STAGES} <= set(texts(figure))
    assert sum(bar.get_width() for bar in figure.axes[0].patches) == pytest.approx(180)


def test_memory_of_a_gpu_is_the_gpus():
    peak = dict(kind="peak", before=100.0, peak=300.0, workers=50.0, gpu=700.0)
    for device, expected in (("cpu", [300.0]), ("cuda", [700.0])):
        rows = [row(contender="course", **peak, **{**WORK, "device": device}),
                row(NOT_MEASURED, kind="peak", contender="lightly", **{**WORK, "device": device})]
        figure = speed_plots.memory_lines(stored(*rows).pick("peers"))
        assert expected in [list(line.get_xdata()) for line in figure.axes[0].lines]
        assert "lightly: not measured" in texts(figure)


def test_shares_of_the_roof_are_percent():
    bare = row(kind="bare", rounds=[{"fit": 8.0, "bare": 10.0}], number=1.25, wanted=1.2, **WORK)
    parts = [row(kind="flops", reached=3.0, ceiling=10.0, **WORK),
             row(kind="bandwidth", part="making the views", reached=1.0, ceiling=10.0, **WORK)]
    figure = speed_plots.shares(stored(bare).pick("peers"), stored(*parts).pick("peers"))
    left, right = ([list(line.get_xdata()) for line in axes.lines] for axes in figure.axes)
    assert [1.25] in left and [1.2, 1.2] in left and [30.0] in right and [10.0] in right


def test_operations_are_microseconds_an_image():
    rows = [row(operation=name, size=size, batch=2, device="cpu", rounds=[{"course": 1e-6, "torchvision": 4e-6}])
            for name in ("hue", "blur") for size in (32, 96)]
    figure = speed_plots.operations(stored(*rows).pick("peers"))
    assert len(figure.axes) == 2 and {"hue", "blur", "course", "torchvision"} <= set(texts(figure))
    assert [0.5] in [list(line.get_xdata()) for line in figure.axes[0].lines]


def test_growth_begins_with_the_largest_exponent():
    rows = [row(series=name, sizes=[10, 20], costs=[1.0, 2.0**e], exponent=e)
            for name, e in (("flat", 0.1), ("steep", 2.0))]
    figure = speed_plots.growth_lines(stored(*rows).pick("peers"))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["2.00  steep", "0.10  flat"] and {"linear", "quadratic"} <= set(texts(figure))
