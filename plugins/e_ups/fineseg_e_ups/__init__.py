"""Head e-ups for fineseg."""
