"""The ReID network on MOT17, as MMTracking publishes it, with the checkpoint as its backbone.

8 processes of 8 persons with 4 crops each, SGD 0.1, 1,000 iterations of warm-up, 6 epochs, a tenth of the rate after
5. In plain MMTracking: --cfg-options model.init_cfg.checkpoint=FILE, where FILE is one of layout openmmlab whose names
have been given the prefix `backbone.`; the head's num_classes is there the number of identities in train_80.txt.
"""

import os

import mmtrack

_base_ = [os.path.join(os.path.dirname(mmtrack.__file__), ".mim/configs/reid/resnet50_b32x8_MOT17.py")]
model = dict(reid=dict(init_cfg=dict(checkpoint="converted-openmmlab.pth")))
