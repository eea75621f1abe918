"""The published datasets: what each split holds, where it comes from, and whether data are those."""
