"""Clustering: the network itself says which of K groups an image belongs to."""
