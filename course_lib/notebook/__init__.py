"""What a lesson shows and asks in JupyterLab: knobs, guesses, claims, explorers, the embedding map, live curves."""

from course_lib.notebook.atlas import NetworksMap, explore_networks
from course_lib.notebook.attention import attention_view, explore_attention
from course_lib.notebook.claims import Claim, claim, difference_interval, interval, median_interval
from course_lib.notebook.cluster_toys import PARTNERS, head_training, mending, peeking
from course_lib.notebook.completions import explore_reconstruction, reconstruction_view
from course_lib.notebook.controls import Choice, Patch, Slider, Toggle
from course_lib.notebook.embedding_map import EmbeddingMap, explore_embedding
from course_lib.notebook.explorers import WIDE, Images, Model, View, open_image, transformer
from course_lib.notebook.findings import DoesNotHold, finding
from course_lib.notebook.knobs import FAST, Knob, close_figure, knob
from course_lib.notebook.live import LiveCurves
from course_lib.notebook.papers_map import PapersMap, explore_papers
from course_lib.notebook.patches import correspondence_view, explore_correspondence, explore_patches, patches_view
from course_lib.notebook.predictions import Prediction, predict
from course_lib.notebook.report import Report
from course_lib.notebook.toys import circle_descent, circle_figure, circle_measures, simsiam_descent, twins_descent
from course_lib.plots.sketch import CMAP, heat

__all__ = [
    "CMAP", "Choice", "Claim", "DoesNotHold", "EmbeddingMap", "FAST", "Images", "Knob", "LiveCurves", "Model",
    "NetworksMap", "PARTNERS", "PapersMap", "Patch", "Prediction", "Report", "Slider", "Toggle", "View", "WIDE",
    "attention_view", "circle_descent", "circle_figure", "circle_measures", "claim", "close_figure",
    "correspondence_view", "difference_interval", "explore_attention", "explore_correspondence",
    "explore_embedding", "explore_networks", "explore_papers", "explore_patches", "explore_reconstruction",
    "finding", "head_training", "heat", "interval", "knob", "median_interval", "mending", "open_image",
    "patches_view", "peeking", "predict", "reconstruction_view", "simsiam_descent", "transformer", "twins_descent",
]
