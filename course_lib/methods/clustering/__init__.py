"""Image clustering: networks that say of each image to which of K groups it belongs, learned without labels."""
