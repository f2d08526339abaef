"""Object tracking: tasks on frozen features (`frozen/`)."""
