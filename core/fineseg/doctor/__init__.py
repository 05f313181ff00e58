"""Is this machine ready? `probe` collects facts, `checks` judges them by pure functions."""
