"""Losses for fineseg."""
