"""Checks of the dual-path CNN: parity with recordings, published sizes, and cases to time."""
