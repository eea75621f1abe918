"""Statistics of runs: per-image values, paired tests and intervals, seeds as a distribution, the verdict."""
