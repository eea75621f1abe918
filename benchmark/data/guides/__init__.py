"""Guides: a vector of each whole image, from a model that is not trained, beside its region features (data.md 7.8)."""
