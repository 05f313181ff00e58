"""Data sets and submission formats for fineseg."""
