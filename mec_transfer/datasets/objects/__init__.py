"""Images with objects in them: boxes and masks, for detection and instance segmentation."""
