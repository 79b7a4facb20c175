"""STAR's transformer: text enters through Qwen's embedding, a code as a vector of the image tokenizer that a perceptron
lifts to the width of the transformer. Names follow `star/models/model.py` of MM-MVR/STAR.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.execute.linear import Linear
from zipar_worker.families.decoder import LLAMA_KEYS, Decoder, DecoderConfig, Rotary
from zipar_worker.families.perceptron import Perceptron
from zipar_worker.families.transformer import Transformer


class StarTransformer(Transformer):
    def __init__(
        self,
        config: DecoderConfig,
        vocabulary_size: int,
        rotary_base: float,
        code_count: int,
        adapter_widths: Sequence[int],
    ) -> None:
        """adapter_widths: from the length of a code to the width of the transformer."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.dim)
        self.decoder = Decoder(config)
        self.rotary = Rotary(config.head_dim, rotary_base)
        self.codebook = nn.Embedding(code_count, adapter_widths[0])
        self.adapter = Perceptron(adapter_widths)
        self.head = Linear(config.dim, code_count, bias=True, split="joined outputs")

    def embed_text(self, ids: Tensor) -> Tensor:
        """ids: int64 [...], of the text vocabulary, on any device -> [..., dim]"""
        embeddings: Tensor = self.embedding(ids.to(self.device))
        return embeddings

    def embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.adapter(self.codebook(tokens))
        return embeddings

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
        return logits


def star_keys(inner_layer_count: int, stacked_layer_count: int) -> KeyMap:
    """Of both stacks. Passed over: what understands pictures, heads for text, and the rest of the image tokenizer."""
    upper = (
        (rf"^decoder\.layers\.{inner_layer_count + layer}\.", f"stacked_ar.model.layers.{layer}.")
        for layer in range(stacked_layer_count)
    )
    return KeyMap(
        (
            (r"^embedding\.", "llm.model.embed_tokens."),
            *upper,
            (r"^decoder\.inner_norm\.", "llm.model.norm."),
            (r"^decoder\.norm\.", "stacked_ar.model.norm."),
            (r"^decoder\.", "llm.model."),
            (r"^codebook\.", "pixel_encoder.quantize.embedding."),
            (r"^adapter\.", "pixel_adapter."),
            (r"^head\.", "pixel_output_head."),
            *LLAMA_KEYS,
        ),
        elsewhere=r"(?:llm|stacked_ar)\.(?:visual|lm_head|model\.visual)\.|stacked_ar\.model\.embed_tokens\."
        r"|pixel_encoder\.|diffusion_decoder\.",
    )
