"""Headline claims of the papers, each judged by one rule from committed results."""
