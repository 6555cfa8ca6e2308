"""Where cases live: the tables, the two databases behind them, and the one writer of a process."""
