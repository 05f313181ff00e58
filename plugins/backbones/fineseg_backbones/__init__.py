"""Backbones (ResNet, ResNeXt, Res2Net, MobileNetV2) and necks (FPN, FPN + BFP, NAS-FPN) for fineseg."""
