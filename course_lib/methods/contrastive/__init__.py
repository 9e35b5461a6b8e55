"""Joint embedding: two views of an image, one representation (the study group's "contrastive learning")."""
