"""The demo world: a seeded generator that writes real layouts."""
