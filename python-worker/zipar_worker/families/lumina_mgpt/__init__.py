"""Lumina-mGPT: which directories are one, and how to open them.

What a checkpoint is: `files.py`; its image tokenizer: `vq.py`; what the model is told:
`prompt.py`; how it runs: `model.py`. Nothing outside these and `vq/chameleon.py` knows of the
family.
"""

from __future__ import annotations

import json
from pathlib import Path

from zipar_worker.families.family import OpenedCheckpoint, OpenOptions

NAME = "lumina-mgpt"


def recognises(path: Path) -> bool:
    try:
        config = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "chameleon"


def open_checkpoint_directory(path: Path, options: OpenOptions) -> OpenedCheckpoint:
    """Opens a directory of the hub. Raises `checkpoint`."""
    # The transformers library takes seconds to import, which checkpoints of other families need not wait for.
    from zipar_worker.families.lumina_mgpt.files import examine
    from zipar_worker.families.lumina_mgpt.model import OpenedLuminaMgpt

    return OpenedLuminaMgpt(examine(path, options))
