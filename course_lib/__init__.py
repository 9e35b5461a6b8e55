"""The library of the course "self-supervised learning for image representation".

Importing the package loads nothing heavy; import the part you need, for example
`from course_lib.methods import build_method`. An import from an earlier version's location says where the name is now.
"""
import sys

from course_lib.moved import Signpost

if Signpost not in sys.meta_path:
    sys.meta_path.append(Signpost)

__version__ = "0.1.0"
