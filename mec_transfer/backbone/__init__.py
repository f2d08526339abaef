"""Any checkpoint to a Backbone, and a Backbone to any engine's file, with proof."""
