"""A shortened SiamRPN++ for the demo world: two epochs of a small batch each, then one measurement.

In plain MMTracking: --cfg-options model.backbone.init_cfg.checkpoint=FILE, of layout openmmlab-sot. Such a file holds
mean, std and the channels' order, so the pipelines feed raw pixels, as the published ones do.
"""

import os

import mmtrack

_base_ = [os.path.join(os.path.dirname(mmtrack.__file__), ".mim/configs/sot/siamese_rpn/siamese_rpn_r50_20e_otb100.py")]
model = dict(backbone=dict(init_cfg=dict(checkpoint="converted-openmmlab-sot.pth")))
data = dict(samples_per_gpu=2, samples_per_epoch=2)
lr_config = dict(lr_configs=[dict(type="step", start_lr_factor=0.2, end_lr_factor=1.0, end_epoch=2)])
evaluation = dict(start=2)
total_epochs = 2
