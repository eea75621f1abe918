"""Checks of VSE-infinity: parity with recordings, published sizes, and cases to time."""
