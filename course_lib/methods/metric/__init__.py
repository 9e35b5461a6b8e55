"""Metric learning: distances that follow labels, or clusters in their place; flat or curved."""
