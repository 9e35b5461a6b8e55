"""The library of the course "self-supervised learning for image representation".

Importing this package imports nothing heavy: ask for the part that you need, for example
`from course_lib.methods import build_method`.
"""
__version__ = "0.1.0"
