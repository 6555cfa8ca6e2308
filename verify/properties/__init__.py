"""The catalogue, one file a family; each property is a function from a context to verdicts."""
