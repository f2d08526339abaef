"""Semantic segmentation: a fully convolutional network on the checkpoint's backbone, finetuned, measured by mIoU."""
