"""Where the repository and its recordings lie, for tests that read them from any folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
