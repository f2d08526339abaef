"""DeepSORT on MOT17's second halves, as MMTracking publishes it, without its weights.

In plain MMTracking: --cfg-options model.detector.init_cfg.checkpoint=FILE model.reid.init_cfg.checkpoint=FILE. With
boxes that are given, of this file count the image's size and normalisation, the motion and the tracker.
"""

import os

import mmtrack

_base_ = [
    os.path.join(
        os.path.dirname(mmtrack.__file__), ".mim/configs/mot/deepsort/deepsort_faster-rcnn_fpn_4e_mot17-public-half.py"
    )
]
model = dict(
    detector=dict(init_cfg=dict(checkpoint="detector.pth"), backbone=dict(init_cfg=None)),
    reid=dict(init_cfg=dict(checkpoint="reid.pth")),
)
