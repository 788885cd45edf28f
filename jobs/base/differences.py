"""How two records differ, in words."""

import json
from typing import Any


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return what changed between two nested dicts, as ``name was A, is B``."""
    changed = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            changed.append(f"{prefix}{name} was {_shown(before)}, is {_shown(after)}")
    return changed


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
