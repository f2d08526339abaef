"""Single-object tracking: one box, followed by correlation of frozen features."""
