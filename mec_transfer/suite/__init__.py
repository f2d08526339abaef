"""The registry of benchmarks, the plan and the run."""
