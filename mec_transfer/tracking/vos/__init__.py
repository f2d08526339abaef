"""Video object segmentation: masks propagated by the similarity of frozen features."""
