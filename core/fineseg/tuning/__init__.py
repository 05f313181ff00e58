"""What is learnt from held-out predictions: weights of models, options of ensemblers, thresholds, calibration."""
