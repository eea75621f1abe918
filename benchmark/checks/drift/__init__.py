"""Drift: do today's code and packages still give the numbers that were recorded? Three levels, on the CPU.

1. Scores: small committed weights are scored again, the first steps of the training are repeated, and with
   `--full` the whole training; each quantity has its tolerance (check.py).
2. Queries: the ranks that the committed weights give are compared one by one (ranks.py).
3. Seeds: new trainings are held against the committed seeds' distribution (seeds.py).
"""
