"""Mutual information: features of one part or view of an image predict those of another."""
