"""A number moves from another carrier: what is known of it before an agent is built."""
