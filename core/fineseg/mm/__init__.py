"""The only part of the core that imports mmengine, mmcv and mmdet: building, training and running detectors."""
