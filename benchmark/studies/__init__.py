"""Studies: variants of recipes trained over seeds on scenes, and contenders timed in turns."""
