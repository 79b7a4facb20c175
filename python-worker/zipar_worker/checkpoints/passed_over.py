"""Tensors that say nothing of a model, by name. This place alone knows them; any other without a use is refused."""

from __future__ import annotations

import re

MEANINGLESS = re.compile(
    r"(?:^|\.)(?:"
    # Caches and tables that the model computes anew.
    r"(?:kv_cache\.)?[kv]_cache|freqs_cis|freqs_(?:cos|sin)|rope\.freqs|rotary_emb\..+|inv_freq"
    r"|causal_mask|attn_mask|attention_mask|position_ids"
    # Counters of training, and of averages of weights.
    r"|num_batches_tracked|num_updates|n_averaged|decay|step|initted|codebook_used|cluster_size|embed_avg"
    r")$"
    # What judged an image tokenizer while it was trained.
    r"|^(?:loss|discriminator|disc|lpips|perceptual_loss|vq_loss|gan_loss|model_ema)\."
)

ENCODER = r"(?:encoder|quant_conv)\."
"""At the beginning of a key of an image tokenizer: the half that makes codes of pixels, which nothing here needs."""
