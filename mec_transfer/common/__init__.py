"""Layer 0: what every package needs and nothing that knows of them."""
