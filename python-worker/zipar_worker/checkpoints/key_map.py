"""What weights files call the parameters of a module."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Rules: TypeAlias = tuple[tuple[str, str | tuple[str, ...]], ...]
"""Patterns and what stands in their place in a file, applied one after the other to the name of a parameter.

Several replacements name the tensors that stand behind one another in the parameter, along its first dimension.
"""


@dataclass(frozen=True, slots=True)
class KeyMap:
    """From names of parameters to the keys of a file.

    elsewhere: a pattern at the beginning of the keys that belong to something else and are passed over. Any other key
    without a parameter is refused.
    """

    rules: Rules = ()
    elsewhere: str | None = None

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys whose tensors fill the parameter `name`, in the order in which they stand in it."""
        keys: Iterable[str] = (name,)
        for pattern, replacement in self.rules:
            replacements = (replacement,) if isinstance(replacement, str) else replacement
            # Where the pattern does not occur, every replacement gives the same.
            keys = dict.fromkeys(re.sub(pattern, text, key) for key in keys for text in replacements)
        return tuple(keys)

    def key(self, name: str) -> str:
        """Of a parameter that a file holds as one tensor."""
        (key,) = self.keys(name)
        return key

    def passes_over(self, key: str) -> bool:
        return self.elsewhere is not None and re.match(self.elsewhere, key) is not None
