"""Checks of RCAR: parity with recordings, published sizes, and cases to time."""
