"""Timing: models, scoring, contenders in turns, the loading of pictures."""
