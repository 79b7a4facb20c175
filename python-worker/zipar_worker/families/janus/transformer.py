"""Janus' transformer: a Llama whose image tokens have an input and an output of their own.

Text enters through Llama's own embedding. A code enters as a row of a small table (`gen_embed`) that a perceptron
(`gen_aligner`) lifts to the width of the transformer, and leaves by another one (`gen_head`). Names follow
`janus/models/modeling_vlm.py` of deepseek-ai/Janus.
"""

from __future__ import annotations

from torch import Tensor, nn

from zipar_worker.families.decoder import Decoder, Rotary
from zipar_worker.families.janus.config import JanusConfig
from zipar_worker.families.perceptron import Perceptron
from zipar_worker.families.transformer import Transformer


class JanusTransformer(Transformer):
    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        language = config.language
        self.embedding = nn.Embedding(language.vocab_size, language.hidden_size)
        self.decoder = Decoder(language.decoder)
        self.rotary = Rotary(language.decoder.head_dim, language.rope_theta)
        self.gen_embed = nn.Embedding(config.code_count, config.code_dim)
        self.gen_aligner = Perceptron(config.aligner_widths)
        self.gen_head = Perceptron(config.head_widths, last_split="joined outputs")

    def embed_text(self, ids: Tensor) -> Tensor:
        """ids: int64 [...], of the text vocabulary, on any device -> [..., dim]"""
        embeddings: Tensor = self.embedding(ids.to(self.device))
        return embeddings

    def embed(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.gen_aligner(self.gen_embed(tokens))
        return embeddings

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.gen_head(hidden)
        return logits
