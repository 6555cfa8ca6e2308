"""Pictures of nets, traces and verdicts."""
