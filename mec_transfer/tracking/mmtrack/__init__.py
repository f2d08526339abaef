"""Trained trackers, through MMTracking. Only this package imports mmcv, mmdet, mmcls or mmtrack, by `engine.load`."""
