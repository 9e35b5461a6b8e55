"""Before SimCLR: pretext tasks, memory banks and margins (the study group's "image transformation" and its roots)."""
