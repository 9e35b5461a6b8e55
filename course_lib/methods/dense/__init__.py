"""Methods that compare places of images, not whole images."""
