"""Datasets, captions as ids, images as tensors, and batches of both."""
