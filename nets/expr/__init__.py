"""Expressions: one syntax tree, built in Python or parsed; evaluated, printed, compiled to Z3."""
