"""MEC pretraining: images in, checkpoint out."""
