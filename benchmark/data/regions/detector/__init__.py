"""The Visual Genome detector that region features come from: Faster R-CNN, ResNet-101 C4 (data.md 3.1 to 3.3)."""

from benchmark.data.regions.detector.detector import Detector, PictureRegions
from benchmark.data.regions.detector.settings import DetectorSettings

__all__ = ["Detector", "DetectorSettings", "PictureRegions"]
