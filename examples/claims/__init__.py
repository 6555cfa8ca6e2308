"""Claims triage: what is known of it, and the agent that came of it."""
