"""Questions about a bill, and payments: what is known of it before an agent is built."""
