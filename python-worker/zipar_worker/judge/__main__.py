"""Judges pictures that `zipar eval` generated: are they of their class, and how far are they from drawn ones?

    python -m zipar_worker.judge --checkpoint DIRECTORY SET.safetensors...

Each SET holds `pictures` uint8 [N, H, W, 3] and `labels` int32 [N]. The directory holds `classifier.safetensors` and
`reference-features.safetensors`. Prints one JSON object:

    {"sets": [VERDICT...], "drawn": VERDICT, "reconstructed": VERDICT}
    VERDICT = {"correct": [0 or 1, per picture], "frechet": number, "frechetResamples": [numbers]}

`drawn` and `reconstructed` judge as many held-out drawn pictures as the smallest set has of each class, and the same
after the image tokenizer: what a perfect model would get. A Frechet distance of few pictures is biased upwards, so only
sets of the same size can be compared. `frechetResamples` are bootstrap values, pictures drawn anew with replacement
within each class; resample k chooses the same places in all sets with the same labels, so that differences pair up.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zipar_worker.errors import WorkerError
from zipar_worker.machine.threads import settle_threads_


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="zipar_worker.judge", description="Judges generated pictures.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory with the classifier")
    parser.add_argument("sets", type=Path, nargs="+", help="safetensors files with pictures and labels")
    options = parser.parse_args(arguments)
    settle_threads_(os.environ)
    from zipar_worker.judge.verdicts import judge

    try:
        judgement = judge(options.checkpoint, options.sets)
    except WorkerError as error:
        print(error.message, file=sys.stderr)
        return 1
    sys.stdout.write(msgspec.json.encode(judgement).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
