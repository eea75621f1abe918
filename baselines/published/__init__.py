"""Readers of what authors published: entries of checkpoints, key names of shared parts, recordings."""
