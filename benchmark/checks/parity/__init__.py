"""Parity: values recorded from published implementations, compared with the results of the production code."""
