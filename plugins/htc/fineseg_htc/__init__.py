"""Head htc for fineseg."""
