"""Nets: places, transitions, typed tokens, the firing rule, expressions, composition and file formats."""
