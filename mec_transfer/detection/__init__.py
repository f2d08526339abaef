"""Detection and instance segmentation through Detectron2: the one package that imports it."""
