"""Methods that learn distances: between classes, or in a space that is not flat."""
