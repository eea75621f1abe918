"""What a repository decides of a configuration: its commit, the size of its pictures, the length of its captions."""

from __future__ import annotations

from collections.abc import Callable

from baselines.dual_encoder.config import DualConfig, check_size
from baselines.dual_encoder.libraries import library_of


def settle(config: DualConfig, commit_of: Callable[[str], str]) -> DualConfig:
    """Return the configuration with the commit of its repository, from the lock or the Hub, and the sizes read there.

    Raises UserError where the repository cannot be read, and where the configuration names other sizes.
    """
    if config.name is None:
        return config
    pinned = config.model_copy(update={"revision": config.revision or commit_of(config.name)})
    side, longest = library_of(pinned).sizes(pinned)
    check_size("image_size", config.image_size, side)
    if config.max_length is not None and config.max_length > longest:
        check_size("max_length", config.max_length, longest)
    return pinned.model_copy(update={"image_size": side, "max_length": config.max_length or longest})
