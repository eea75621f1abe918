"""Runs: from a command to recipes, from a recipe to data, model, training, evaluation and record."""
