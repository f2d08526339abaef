"""The foreign training engines: what installs, proves and guards all of them in the same way."""
