"""Networks: backbones, the vision transformer, and the layers that methods share."""
