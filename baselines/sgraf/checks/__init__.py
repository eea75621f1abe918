"""Checks of SAF and SGR: parity with recordings, published sizes, and cases to time."""
