"""`python -m benchmark` is `rematch`."""

from benchmark.cli import main

main()
