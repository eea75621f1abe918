"""Checks of numbers and machines: parity with published code, drift of committed scores, the doctor."""
