"""Targets through the frames that show them: what a tracker learns from."""

from mec_transfer.datasets.tracks.data import TracksData
from mec_transfer.datasets.tracks.table import Track

__all__ = ["Track", "TracksData"]
