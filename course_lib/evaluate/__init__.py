"""What a representation holds: kNN, probes, measures; with raw pixels and a random encoder beside every result."""

from course_lib.evaluate.attention import (
    attention_distance, from_mask_tokens, mutual_matches, object_share, rollout, similarity, to_grid,
)
from course_lib.evaluate.clusters import (
    assigned, causes_told, class_shares, cluster_table, matched_scores, score_clusters, unscorable,
)
from course_lib.evaluate.features import embed, embed_projected, raw_pixels, reinitialise
from course_lib.evaluate.fewshot import FewShot, draw_episode, few_shot, prototype_accuracy
from course_lib.evaluate.layers import LayerScore, absorbed, layer_features, layer_maps, layer_probes, same_size
from course_lib.evaluate.measures import (
    alignment, check_features, check_labels, classes_of_clusters, cluster_accuracy, cluster_match, cluster_scores,
    covariance_spectrum, effective_rank, feature_std, few_threads, kmeans_clusters, partition_scores, rankme,
    uniformity,
)
from course_lib.evaluate.neighbours import knn, knn_accuracy, knn_predict, knn_votes, nearest
from course_lib.evaluate.outliers import auroc, fpr95, mahalanobis, outlier_scores, standardised
from course_lib.evaluate.pairs import pair_measures
from course_lib.evaluate.patches import (
    component_colours,
    counterparts,
    guessed_counterparts,
    patch_vectors,
    same_word,
    shared_bits,
)
from course_lib.evaluate.probes import (
    COMPONENTS, WIDE, LabelledFeatures, ProbeResult, factor_probe, linear_head, linear_probe,
)
from course_lib.evaluate.reconstruction import (
    average_distance, colour_error_by_distance, distance_map, error_by_distance, fill_blurred, fill_mean, fill_nearest,
    fill_plane, hidden_error, hidden_errors,
)
from course_lib.evaluate.ranking import retrieval
from course_lib.evaluate.robustness import InPixels, pgd_accuracy, pgd_step, projected
from course_lib.evaluate.scores import queue_scores, score_statistics
from course_lib.evaluate.scoring import COLUMNS, PERCENT, missing_lines, score, table, unmeasurable
from course_lib.evaluate.smoothing import (
    ABSTAIN, certified_accuracy, certified_radius, certify, count_votes, lower_bound,
)
from course_lib.evaluate.transfer import (
    eleven_point_precision, kendall_tau, mean_class_accuracy, rank_correlations,
)
from course_lib.evaluate.trust import calibration, mislabel, patches_of, trust_scores

__all__ = [
    "ABSTAIN", "COLUMNS", "COMPONENTS", "FewShot", "InPixels", "LabelledFeatures", "LayerScore", "PERCENT",
    "ProbeResult", "WIDE", "absorbed", "alignment", "assigned", "attention_distance", "auroc", "average_distance",
    "calibration", "causes_told", "certified_accuracy", "certified_radius", "certify", "check_features",
    "check_labels", "class_shares", "classes_of_clusters", "cluster_accuracy", "cluster_match", "cluster_scores",
    "cluster_table", "component_colours", "count_votes", "counterparts", "covariance_spectrum", "distance_map",
    "draw_episode", "effective_rank", "eleven_point_precision", "embed", "embed_projected", "error_by_distance",
    "factor_probe", "feature_std", "few_shot", "few_threads", "fill_mean", "fill_nearest", "fpr95",
    "guessed_counterparts", "hidden_error", "hidden_errors", "kendall_tau", "kmeans_clusters", "knn",
    "knn_accuracy", "knn_predict", "knn_votes", "layer_features", "layer_maps", "layer_probes", "linear_head",
    "linear_probe", "lower_bound", "mahalanobis", "matched_scores", "mean_class_accuracy", "mislabel",
    "missing_lines", "mutual_matches", "object_share", "outlier_scores", "pair_measures", "partition_scores",
    "patch_vectors", "patches_of", "pgd_accuracy", "pgd_step", "projected", "prototype_accuracy", "queue_scores",
    "rank_correlations", "rankme", "raw_pixels", "reinitialise", "retrieval", "rollout", "same_size", "same_word",
    "score", "score_clusters", "score_statistics", "shared_bits", "similarity", "standardised", "table", "to_grid",
    "trust_scores", "uniformity", "unmeasurable", "unscorable",
]
