"""The same agent on two spines, and what a change of its model does to each."""
