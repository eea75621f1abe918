"""Mutants: code changed in one place on purpose, to see whether the tests of its module notice (`nox -s mutants`)."""
