"""Attention between regions and words: cosines, aligned contexts, tiles and chunks."""
