"""Fusing predictions: what several models say, turned into one answer."""
