"""Evaluation: scoring, ranking, metrics, protocols and intervals."""
