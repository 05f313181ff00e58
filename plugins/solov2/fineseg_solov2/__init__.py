"""Head solov2 for fineseg."""
