"""Training: the loop, fine-tuning, checkpoints, and what a run was."""

from course_lib.train.checkpoint import (
    FORMAT, MALFORMED, CheckpointError, current_names, export, load, load_backbone, load_method, save, save_small,
)
from course_lib.train.history import History, NonFiniteLoss, non_finite, record, std_and_rank, write_metrics
from course_lib.train.loop import fit
from course_lib.train.tuning import FineTuneResult, fine_tune, supervised_control

__all__ = [
    "CheckpointError", "FORMAT", "FineTuneResult", "History", "MALFORMED", "NonFiniteLoss", "current_names", "export",
    "fine_tune", "fit", "load", "load_backbone", "load_method", "non_finite", "record", "save", "save_small",
    "std_and_rank", "supervised_control", "write_metrics",
]
