"""Head hrnet-deeplab for fineseg: the class of every pixel."""
