"""Data: datasets, captions as ids, pictures as tensors, region features, and the batches made of them."""
