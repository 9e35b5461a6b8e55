"""Week 23's table: what is in a row, its controls, and what is left out."""

from __future__ import annotations

import pytest
import torch

from course_lib.data.images import ImageSet, Splits
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.suite import (
    Pixels,
    attacked,
    outliers_of,
    seen,
    seen_row,
    transfer_row,
    transfer_rows,
    transfer_table,
)
from course_lib.methods import build_method

pytestmark = pytest.mark.usefixtures("one_thread")


def splits():
    return Splits(*(make_shapes(n, seed=seed) for n, seed in ((300, 1), (120, 2), (240, 3))))


def small():
    torch.manual_seed(0)
    return build_method("rotation", "convnet", 32, backbone_options={"depth": 2, "widths": (4, 8)})


def test_a_row_for_the_network_and_each_control():
    seen, tuned = [], []

    def fine_tune(encoder, images):
        tuned.append(encoder)
        return 0.5

    rows = transfer_rows(small(), splits(), make_shapes(100, seed=9, style="striped"), name="own", fine_tune=fine_tune,
                         watch=lambda found: seen.append(len(found)))
    assert [row["name"] for row in rows] == ["own", "random encoder", "raw pixels (16 x 16)"] and seen == [1, 2, 3]
    assert len(tuned) == 2 and "fine_tuned" not in rows[2]
    for row in rows:
        assert all(0 <= row[key] <= 1 for key in ("knn", "linear", "few_1", "few_5", "auroc", "fpr95", "robust"))
        assert row["robust"] <= row["attacked"]
    text = transfer_table(rows)
    assert "5-way 1-shot" in text and "±" in text and text.splitlines()[3].startswith("raw pixels") and "-" in text
    assert transfer_table(rows, markdown=True).count("|") > 30


def test_what_cannot_be_measured_is_left_out():
    parts = splits()
    three = Splits(*(ImageSet(p.images, p.labels % 3) for p in (parts.train, parts.validation, parts.test)))
    row = transfer_row(Pixels(), three, None)
    assert not {"few_1", "few_5", "auroc", "fine_tuned"} & set(row) and {"knn", "linear", "robust"} <= set(row)
    unlabelled = Splits(ImageSet(parts.train.images), parts.validation, parts.test)
    with pytest.raises(ValueError, match="labels are missing"):
        transfer_row(Pixels(), unlabelled, None)


def test_a_draw_of_one_target_and_what_is_the_same_in_all_draws():
    images = splits()
    parts = seen(Pixels(), images)
    first, second = (seen_row("class", parts, 100, 20, number, first=number == 0) for number in (0, 1))
    assert set(first) - set(second) == {"class knn", "class share"} and 0 < first["class share"] < 1
    assert first["class few_5"] != second["class few_5"]
    more = outliers_of({"class": parts, "other": parts}, "class", ("other", "not there"))
    assert set(more) == {f"other {key}" for key in ("auroc", "fpr95", "auroc_euclidean")}
    right = attacked(small(), seen(small(), images), images.test, 20, 0,
                     {"epsilon": 1 / 255, "step": 0.25 / 255, "steps": (0, 2), "restarts": 1})
    assert right["pgd 2"] <= right["pgd 0"]
