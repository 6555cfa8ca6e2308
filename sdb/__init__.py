"""Contracts at the stochastic-deterministic boundary: propose, verify, commit, reject."""
