"""Lumina-mGPT: which directories are one, and how to open them.

What a checkpoint is: `lumina_mgpt_checkpoint.py`; its image tokenizer: `lumina_mgpt_vq.py`; what the model is told:
`lumina_mgpt_prompt.py`; how it runs: `lumina_mgpt_model.py`. Nothing outside these and `vq/chameleon.py` knows of the
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
    from zipar_worker.families.lumina_mgpt_checkpoint import examine
    from zipar_worker.families.lumina_mgpt_model import OpenedLuminaMgpt

    return OpenedLuminaMgpt(examine(path, options))
