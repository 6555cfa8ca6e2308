"""Expressions: one syntax tree, built in Python or parsed from text; evaluated, printed, and compiled to Z3."""
