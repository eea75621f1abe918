"""Parity: values recorded from published implementations, held against what the production code computes."""
