"""The command line: `course lab`, `course train` and the others."""
