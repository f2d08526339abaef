"""Multi-object tracking: detections joined to tracks by frozen features (boxes, masks, poses)."""
