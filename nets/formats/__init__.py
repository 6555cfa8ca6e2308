"""File formats and views of a net: canonical JSON, PNML, SNAKES, networkx."""
