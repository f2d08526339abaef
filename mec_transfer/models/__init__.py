"""Public checkpoints by name: where they are (`zoo`), and how they come onto this machine (`fetch`)."""
