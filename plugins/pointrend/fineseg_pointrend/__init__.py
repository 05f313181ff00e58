"""Heads `mask-rcnn` and `pointrend`."""
