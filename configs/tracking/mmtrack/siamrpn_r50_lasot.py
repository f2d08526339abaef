"""SiamRPN++ for LaSOT, as MMTracking publishes it, with the checkpoint as its backbone.

In plain MMTracking: --cfg-options model.backbone.init_cfg.checkpoint=FILE, of layout openmmlab-sot. Such a file holds
mean, std and the channels' order, so the pipelines feed raw pixels, as the published ones do.
"""

import os

import mmtrack

_base_ = [os.path.join(os.path.dirname(mmtrack.__file__), ".mim/configs/sot/siamese_rpn/siamese_rpn_r50_20e_lasot.py")]
model = dict(backbone=dict(init_cfg=dict(checkpoint="converted-openmmlab-sot.pth")))
