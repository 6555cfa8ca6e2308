"""What the logs of runs say about agents: failures with known signatures, and how models differ."""
