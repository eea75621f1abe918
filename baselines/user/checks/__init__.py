"""Checks of USER: parity with recordings, published sizes, and cases to time."""
