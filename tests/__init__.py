"""Tests of Provenet, a folder for each area."""
