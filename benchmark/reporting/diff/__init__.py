"""`rematch diff`: what changed between two runs, from their records and sidecars alone."""
