"""Layers that two or more methods share: encoders, pooling, norms, regulators, momentum copies and queues."""
