"""Ensembler agreement and data set id-maps; `plugin.py` is where fineseg comes in."""
