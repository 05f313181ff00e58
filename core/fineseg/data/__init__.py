"""What is common to all data sets: splits, COCO files, RLE masks, checks."""
