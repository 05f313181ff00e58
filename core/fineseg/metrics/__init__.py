"""Measures of predictions against the truth, as pure functions on splits and arrays."""
