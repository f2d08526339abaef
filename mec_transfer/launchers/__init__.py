"""Where a run's jobs are computed: several at once on this machine, or on a SLURM cluster."""
