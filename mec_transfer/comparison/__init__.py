"""Which of two models is better on a benchmark, and whether the data can tell: no torch in here."""
