"""YAML in which no key may stand twice: PyYAML itself lets the last one count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class UniqueKeys(yaml.SafeLoader):
    """Fails where a mapping has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice in {keys}"
        return dict(super().construct_mapping(node, deep))


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; fails where a key stands twice."""
    return yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
