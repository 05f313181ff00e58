"""Backbones (ResNet, ResNeXt, Res2Net, SENet, MobileNetV2) and necks (FPN, FPN + BFP, NAS-FPN) for fineseg."""
