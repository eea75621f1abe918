"""Compiled modules are kept, beside the system's other temporary files, where Python is told to write none.

Without them every process of the tests compiles torch and transformers anew, which takes longer than most tests.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

if sys.dont_write_bytecode and sys.pycache_prefix is None:
    sys.pycache_prefix = str(Path(tempfile.gettempdir()) / "rematch-bytecode")
    sys.dont_write_bytecode = False
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix  # of the processes that tests start
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
