"""Images with labels or without: folders, tar shards, lists of labels."""
