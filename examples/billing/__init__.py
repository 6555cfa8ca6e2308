"""Questions about a bill, and payments: what is known of it, and the agent that came of it."""
