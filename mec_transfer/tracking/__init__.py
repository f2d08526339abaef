"""Object tracking: five tasks on frozen features, one folder a way of tracking."""
