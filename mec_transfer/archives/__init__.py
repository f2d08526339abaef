"""Public data sets by name: where their archives lie, fetching and unpacking them. Stands on `common` alone."""
