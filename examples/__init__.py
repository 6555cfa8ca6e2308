"""Complete agents that ship with Provenet and run without a key."""
