"""One file a command; heavy imports stay inside the functions."""
