"""On-disk layouts, label subsets, fingerprints."""
