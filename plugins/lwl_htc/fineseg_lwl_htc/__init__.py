"""Head lwl-htc for fineseg: HTC with balanced tasks and a deformable semantic head."""
