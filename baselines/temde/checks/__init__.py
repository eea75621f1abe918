"""Checks of T-EMDE: parity with recordings, published sizes, and cases to time."""
