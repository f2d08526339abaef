"""Five tracking tasks with one frozen appearance model (UniTrack)."""
