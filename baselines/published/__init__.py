"""Readers of what authors published: checkpoint formats, key names of shared parts, recordings."""
