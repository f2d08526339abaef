"""Videos with something to follow in them, one reader a layout."""
