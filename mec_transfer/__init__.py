"""mec-transfer: one self-supervised ResNet checkpoint in, every transfer number out."""

__version__ = "0.1.0"
