"""Checks of HAT: parity with recordings, published sizes, and cases to time."""
