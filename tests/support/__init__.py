"""Helpers shared between test folders."""
