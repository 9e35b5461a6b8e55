"""Every figure of the course, in one house style."""

from course_lib.plots.charts import (
    DASHES, MARKERS, curves, embedding, factor_bars, factor_map, paper_map, project, score_bars,
    traces,
)
from course_lib.plots.drawing import (
    BLACK, BLUE, COLORS, CYCLE, GREEN, GREY, MEANING, ORANGE, PINK, RED, SIGNED, SKY, THIS, WIDTH, YELLOW, as_array,
    as_pixels, drawn, style,
)
from course_lib.plots.pictures import image_grid, image_rows, neighbours, two_forces, two_tests

__all__ = [
    "BLACK", "BLUE", "COLORS", "CYCLE", "DASHES", "GREEN", "GREY", "MARKERS", "MEANING", "ORANGE", "PINK", "RED",
    "SIGNED", "SKY", "THIS", "WIDTH", "YELLOW", "as_array", "as_pixels", "curves", "drawn", "embedding", "factor_bars",
    "factor_map", "image_grid", "image_rows", "neighbours", "paper_map", "project", "score_bars", "style", "traces",
    "two_forces", "two_tests",
]
