"""Datasets to look at: contact sheets."""
