"""Region features: from SCAN folders and TSV files, or computed from pictures; read by row, never all at once."""

from benchmark.data.regions.arrays import ArrayRegions
from benchmark.data.regions.grid import FeatureStore

__all__ = ["ArrayRegions", "FeatureStore"]
