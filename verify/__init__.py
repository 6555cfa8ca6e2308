"""Proofs and counterexamples: what holds of a net for every output a model could produce."""
