"""Model families in the sizes that are checked and timed, as they are before any weights are there.

The full sizes are those of the published files (BAAI/Emu3-Gen, Alpha-VLLM/Lumina-mGPT-7B-768, deepseek-ai/Janus-Pro-7B,
LlamaGen's c2i_XL_384).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from msgspec import structs

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.families.emu3.files import DEFAULTS as EMU3
from zipar_worker.families.janus.config import NATIVE_IMAGE_TOKENIZER_KEYS, NATIVE_KEYS, JanusConfig
from zipar_worker.families.janus.transformer import JanusTransformer
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.llamagen.transformer import (
    KEYS,
    CaptionCondition,
    ClassCondition,
    LlamaGenConfig,
    LlamaGenTransformer,
)
from zipar_worker.families.lumina_mgpt.files import DEFAULTS as CHAMELEON
from zipar_worker.families.star.transformer import StarTransformer, star_keys
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS, TokenTransformer, Transformer
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.cosmos import CosmosConfig, CosmosDecoder
from zipar_worker.families.vq.emu3 import Emu3VQConfig, Emu3VQDecoder
from zipar_worker.families.vq.image_decoder import ImageDecoder
from zipar_worker.families.vq.llamagen import LlamaGenVQConfig, LlamaGenVQDecoder
from zipar_worker.families.vq.movqgan import MoVQConfig, MoVQDecoder, SpatialDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """transformer and image_decoder build modules `without_weights`; keys: what a file calls the former's tensors.

    prompt_slots: of the longest prompt, which count for memory; prompt_tokens: of the conditional and of the
    unconditional branch of the prompts that are fed here.
    """

    name: str
    transformer: Callable[[], Transformer]
    image_decoder: Callable[[], ImageDecoder]
    rows: int
    columns: int
    code_count: int
    prompt_slots: int
    prompt_tokens: tuple[int, int]
    guidance_scale: float
    top_k: int = 0
    row_end: Literal["none", "token"] = "none"
    keys: KeyMap


_LLAMA_KEYS = KeyMap(LLAMA_MODEL_KEYS)

JANUS_7B = LlamaConfig(vocab_size=102400, num_hidden_layers=30, max_position_embeddings=16384)


def full_architectures() -> list[Architecture]:
    """What tells most comes first."""
    xl = LlamaGenConfig(1280, 36, 20, 20, 16384, ClassCondition(1000), 24, 24)
    return [
        emu3("Emu3-Gen", EMU3, Emu3VQConfig(), (90, 90), 151854),
        llamagen("LlamaGen-XL", xl, LlamaGenVQConfig()),
        janus("Janus-Pro-7B", JANUS_7B, LlamaGenVQConfig(), (24, 24)),
        lumina("Lumina-mGPT-7B-768", CHAMELEON, ChameleonVQConfig(), (48, 48), max_prompt=512),
    ]


def cpu_architectures() -> list[Architecture]:
    """What a CPU can be asked for: the demo's shape, LlamaGen-B, and four layers as wide as those of 7B models."""
    demo = LlamaGenConfig(192, 6, 3, 3, 512, ClassCondition(14), 16, 16)
    b = LlamaGenConfig(768, 12, 12, 12, 16384, ClassCondition(1000), 16, 16)
    layers = structs.replace(EMU3, num_hidden_layers=4, vocab_size=40_000)
    return [
        llamagen("LlamaGen-B", b, LlamaGenVQConfig()),
        llamagen("demo", demo, LlamaGenVQConfig(512, 8, 32, (1, 1), 1, 32)),
        emu3("four layers of Emu3", layers, Emu3VQConfig(), (24, 24), 1000),
    ]


def tiny_architectures(*, dim: int, code_count: int, rows: int, columns: int, has_variants: bool) -> list[Architecture]:
    """Every family, Emu3 with heads that share K and V. Variants: captions, and norms behind the layers."""
    llama = LlamaConfig(
        vocab_size=code_count + 16,
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
    )
    grouped = structs.replace(llama, num_key_value_heads=2)
    vq = LlamaGenVQConfig(code_count, 8, 32, (1, 1), 1, 32)
    chameleon = ChameleonVQConfig(code_count, 32, 32, (1, 2), 1, 32)
    movq = MoVQConfig(code_count, ch=32, num_res_blocks=1)
    cosmos = CosmosConfig((code_count,), 4, (8, 16), 0, patch_size=2)
    classes = LlamaGenConfig(dim, 2, 4, 4, code_count, ClassCondition(7), rows, columns)
    captions = replace(classes, condition=CaptionCondition(12, 48))
    grid = (rows, columns)
    families = [
        llamagen("LlamaGen", classes, vq),
        emu3("Emu3", grouped, Emu3VQConfig(code_count, ch=32, num_res_blocks=1), grid, 16),
        lumina("Lumina-mGPT", llama, chameleon, grid, max_prompt=32),
        replace(
            lumina("Lumina-mGPT 2.0", llama, chameleon, grid, max_prompt=32),
            image_decoder=lambda: MoVQDecoder(movq, SpatialDecoder(movq)),
        ),
        lumina("Emu3.5", grouped, chameleon, grid, max_prompt=32, head_norm="rms"),
        janus("Janus-Pro", llama, vq, grid),
        star("STAR", grouped, replace(vq, attention_heads=4, has_unit_codes=False), grid, max_prompt=32),
        anole("Anole", llama, chameleon, grid, max_prompt=32),
        simplear("SimpleAR", grouped, cosmos, grid, max_prompt=32),
        liquid("Liquid", structs.replace(llama, hidden_act="gelu_pytorch_tanh"), chameleon, grid, max_prompt=32),
    ]
    variants = [
        llamagen("LlamaGen for captions", captions, vq),
        lumina("Lumina-mGPT-34B", grouped, chameleon, grid, max_prompt=32, has_output_norms=True),
    ]
    return [*families, *(variants if has_variants else [])]


def llamagen(name: str, config: LlamaGenConfig, vq: LlamaGenVQConfig) -> Architecture:
    length = config.condition.length
    return Architecture(
        name=name,
        transformer=lambda: LlamaGenTransformer(config),
        image_decoder=lambda: LlamaGenVQDecoder(vq),
        rows=config.rows,
        columns=config.columns,
        code_count=config.vocabulary_size,
        prompt_slots=length,
        prompt_tokens=(max(1, length - 3), length),
        guidance_scale=4.0,
        top_k=2000,
        keys=KEYS,
    )


def emu3(name: str, config: LlamaConfig, vq: Emu3VQConfig, grid: tuple[int, int], first_code: int) -> Architecture:
    codes = range(first_code, first_code + vq.codebook_size)
    longest = config.max_position_embeddings - grid[0] * (grid[1] + 1)
    return Architecture(
        name=name,
        transformer=lambda: TokenTransformer(config.decoder, config.vocab_size, config.rope_theta, codes, 5),
        image_decoder=lambda: Emu3VQDecoder(vq),
        rows=grid[0],
        columns=grid[1],
        code_count=vq.codebook_size,
        # What the square leaves of the positions. A real card counts those of the largest ratio, the same in sum.
        prompt_slots=longest,
        prompt_tokens=_prompt_tokens(longest),
        guidance_scale=3.0,
        top_k=2048,
        row_end="token",
        keys=_LLAMA_KEYS,
    )


def lumina(
    name: str,
    config: LlamaConfig,
    vq: ChameleonVQConfig,
    grid: tuple[int, int],
    max_prompt: int,
    head_norm: Literal["rms", "layer"] = "layer",
    has_output_norms: bool = False,
) -> Architecture:
    """With the other head norm, it has the parts of Emu3.5."""
    decoder = replace(config.decoder, head_norm=head_norm, has_output_norms=has_output_norms)
    codes = range(4, 4 + vq.codebook_size)
    row_ended = _of_one_vocabulary(
        name,
        lambda: TokenTransformer(decoder, config.vocab_size, config.rope_theta, codes, 2),
        lambda: ChameleonVQDecoder(vq),
        vq.codebook_size,
        grid,
        max_prompt,
        guidance_scale=4.0,
    )
    return replace(row_ended, top_k=2000, row_end="token")


def anole(
    name: str, config: LlamaConfig, vq: ChameleonVQConfig, grid: tuple[int, int], max_prompt: int
) -> Architecture:
    """In Meta's layout, whose heads are rotated in another order than those of Lumina-mGPT."""
    decoder = replace(config.decoder, head_norm="layer")
    codes = range(4, 4 + vq.codebook_size)
    return replace(
        lumina(name, config, vq, grid, max_prompt),
        transformer=lambda: TokenTransformer(
            decoder, config.vocab_size, config.rope_theta, codes, has_interleaved_heads=True
        ),
        guidance_scale=3.0,
        top_k=0,
        row_end="none",
    )


def star(name: str, config: LlamaConfig, vq: LlamaGenVQConfig, grid: tuple[int, int], max_prompt: int) -> Architecture:
    """Of the layers, all but the first are the stack on top."""
    decoder = replace(config.decoder, has_qkv_bias=True, inner_layer_count=1)
    widths = (vq.embedding_dim, config.hidden_size, config.hidden_size)
    length = _prompt_tokens(max_prompt)[0]
    return Architecture(
        name=name,
        transformer=lambda: StarTransformer(decoder, config.vocab_size, config.rope_theta, vq.codebook_size, widths),
        image_decoder=lambda: LlamaGenVQDecoder(vq),
        rows=grid[0],
        columns=grid[1],
        code_count=vq.codebook_size,
        prompt_slots=max_prompt,
        prompt_tokens=(length, length),
        guidance_scale=1.1,
        top_k=0,
        keys=star_keys(1, decoder.layer_count - 1),
    )


def simplear(name: str, config: LlamaConfig, vq: CosmosConfig, grid: tuple[int, int], max_prompt: int) -> Architecture:
    decoder = replace(config.decoder, has_qkv_bias=True)
    codes = range(config.vocab_size - vq.code_count, config.vocab_size)
    return _of_one_vocabulary(
        name,
        lambda: TokenTransformer(decoder, config.vocab_size, config.rope_theta, codes),
        lambda: CosmosDecoder(vq),
        vq.code_count,
        grid,
        max_prompt,
        guidance_scale=6.0,
    )


def liquid(
    name: str, config: LlamaConfig, vq: ChameleonVQConfig, grid: tuple[int, int], max_prompt: int
) -> Architecture:
    decoder = replace(config.decoder, norms_add_one=True)
    codes = range(config.vocab_size - vq.codebook_size, config.vocab_size)
    scale = config.hidden_size**0.5
    return _of_one_vocabulary(
        name,
        lambda: TokenTransformer(decoder, config.vocab_size, config.rope_theta, codes, embedding_scale=scale),
        lambda: ChameleonVQDecoder(vq),
        vq.codebook_size,
        grid,
        max_prompt,
        guidance_scale=7.0,
    )


def janus(name: str, config: LlamaConfig, vq: LlamaGenVQConfig, grid: tuple[int, int]) -> Architecture:
    """The published ones make squares."""
    dim, longest = config.hidden_size, min(512, config.max_position_embeddings - grid[0] * grid[1])
    janus_config = JanusConfig(
        language=config,
        code_count=vq.codebook_size,
        aligner_widths=(vq.embedding_dim, dim, dim),
        head_widths=(dim, dim, vq.codebook_size),
        side=grid[0],
        patch_size=vq.pixels_per_token,
        keys=NATIVE_KEYS,
        image_tokenizer_keys=NATIVE_IMAGE_TOKENIZER_KEYS,
    )
    length = _prompt_tokens(longest)[0]
    return Architecture(
        name=name,
        transformer=lambda: JanusTransformer(janus_config),
        image_decoder=lambda: LlamaGenVQDecoder(vq),
        rows=grid[0],
        columns=grid[1],
        code_count=vq.codebook_size,
        prompt_slots=longest,
        prompt_tokens=(length, length),
        guidance_scale=5.0,
        keys=NATIVE_KEYS,
    )


def _of_one_vocabulary(
    name: str,
    transformer: Callable[[], Transformer],
    image_decoder: Callable[[], ImageDecoder],
    code_count: int,
    grid: tuple[int, int],
    max_prompt: int,
    *,
    guidance_scale: float,
) -> Architecture:
    """Whose codes are tokens of the vocabulary of its text."""
    return Architecture(
        name=name,
        transformer=transformer,
        image_decoder=image_decoder,
        rows=grid[0],
        columns=grid[1],
        code_count=code_count,
        prompt_slots=max_prompt,
        prompt_tokens=_prompt_tokens(max_prompt),
        guidance_scale=guidance_scale,
        keys=_LLAMA_KEYS,
    )


def _prompt_tokens(longest: int) -> tuple[int, int]:
    """Of both branches, of which one is padded."""
    length = min(64, max(2, longest // 2))
    return length, max(1, length - 5)
