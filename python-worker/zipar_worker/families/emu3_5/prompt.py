"""What Emu3.5 is told, for text to image.

Facts: `configs/example_config_t2i.py` and `src/utils/logits_processor.py` of baaivision/Emu3.5 (Apache-2.0).
"""

from __future__ import annotations

from zipar_worker.families.emu3.vocabulary import BEGIN, BEGIN_IMAGE, END_SIZE, Vocabulary

MAXIMAL_PROMPT_TOKENS = 1024
"""With everything around the user's words. The official code sets no limit; its own example has 252."""

_BEGIN_ANSWER = "<|extra_100|>"


def branch_ids(vocabulary: Vocabulary, prompt: str, rows: int, columns: int) -> list[list[int]]:
    """Of both branches, up to where the image begins.

    The official code has the model begin the image, and then forces its size. Here all of it is given.
    """
    image = [vocabulary.ids[BEGIN_IMAGE], *vocabulary.encode_text(f"{rows}*{columns}"), vocabulary.ids[END_SIZE]]
    texts = (
        f"You are a helpful assistant for t2i task. USER: {prompt} ASSISTANT: ",
        "You are a helpful assistant. USER:  ASSISTANT: ",
    )
    begin, answer = vocabulary.ids[BEGIN], vocabulary.ids[_BEGIN_ANSWER]
    return [[begin, *vocabulary.encode_text(text), answer, *image] for text in texts]
