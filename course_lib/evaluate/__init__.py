"""What a representation holds: kNN, probes, measures; with raw pixels and a random encoder beside every result."""

from course_lib.evaluate.attention import (
    attention_distance, from_mask_tokens, mutual_matches, object_share, rollout, similarity, to_grid,
)
from course_lib.evaluate.clusters import (
    assigned, causes_told, class_shares, cluster_table, kmeans_clusters, matched_scores, score_clusters, unscorable,
)
from course_lib.evaluate.features import embed, embed_projected, raw_pixels, reinitialise
from course_lib.evaluate.measures import (
    alignment, check_features, check_labels, classes_of_clusters, cluster_accuracy, cluster_match, cluster_scores,
    covariance_spectrum, effective_rank, feature_std, few_threads, partition_scores, rankme, uniformity,
)
from course_lib.evaluate.neighbours import knn, knn_accuracy, knn_predict, knn_votes, nearest
from course_lib.evaluate.pairs import pair_measures
from course_lib.evaluate.patches import (
    component_colours,
    counterparts,
    guessed_counterparts,
    patch_vectors,
    same_word,
    shared_bits,
)
from course_lib.evaluate.probes import COMPONENTS, WIDE, LabelledFeatures, ProbeResult, factor_probe, linear_probe
from course_lib.evaluate.reconstruction import (
    average_distance, colour_error_by_distance, distance_map, error_by_distance, fill_blurred, fill_mean, fill_nearest,
    fill_plane, hidden_error, hidden_errors,
)
from course_lib.evaluate.retrieval import retrieval
from course_lib.evaluate.scores import queue_scores, score_statistics
from course_lib.evaluate.scoring import COLUMNS, PERCENT, missing_lines, score, table, unmeasurable
from course_lib.evaluate.smoothing import (
    ABSTAIN, certified_accuracy, certified_radius, certify, count_votes, lower_bound,
)
from course_lib.evaluate.trust import calibration, mislabel, patches_of, trust_scores

__all__ = [
    "ABSTAIN", "COLUMNS", "COMPONENTS", "LabelledFeatures", "PERCENT", "ProbeResult", "WIDE", "alignment",
    "assigned", "attention_distance", "average_distance", "calibration", "causes_told", "certified_accuracy",
    "certified_radius", "certify", "check_features", "check_labels", "class_shares", "classes_of_clusters",
    "cluster_accuracy", "cluster_match", "cluster_scores", "cluster_table", "component_colours", "count_votes",
    "counterparts", "covariance_spectrum", "distance_map", "effective_rank", "embed", "embed_projected",
    "error_by_distance", "factor_probe", "feature_std", "few_threads", "fill_mean", "fill_nearest",
    "guessed_counterparts", "hidden_error", "hidden_errors", "kmeans_clusters", "knn", "knn_accuracy",
    "knn_predict", "knn_votes", "linear_probe", "lower_bound", "matched_scores", "mislabel", "missing_lines",
    "mutual_matches", "object_share", "pair_measures", "partition_scores", "patch_vectors", "patches_of",
    "queue_scores", "rankme", "raw_pixels", "reinitialise", "retrieval", "rollout", "same_word", "score",
    "score_clusters", "score_statistics", "shared_bits", "similarity", "table", "to_grid", "trust_scores", "uniformity",
    "unmeasurable", "unscorable",
]
