"""Petri nets as immutable data: places, transitions, typed tokens, and the one firing rule."""
