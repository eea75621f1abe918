"""Run records and what stands beside them: sidecars, signatures, environments, the papers' numbers."""
