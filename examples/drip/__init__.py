"""Letters to a lead, a week apart: what is known of it before an agent is built."""
