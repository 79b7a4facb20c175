"""Lumina-mGPT 2.0 on a tiny checkpoint in the official format: tokens, pixels, prompts, and every way to fail.

fixtures/lumina_mgpt_2_official.json says how the official code was run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import Driver, start
from spoiling import Spoilt, check_refused, cut, edit, replace_bytes, replace_text, rewrite, set_fields, without
from test_chameleon_vq import seeded_state
from token_images import encode_request, generate, generate_by_window, masked_by_window
from torch import Tensor
from transformers import ChameleonConfig, ChameleonModel

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.weights import Checkpoint, open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS, PromptTokenizer, known_sizes
from zipar_worker.families.lumina_mgpt_2.vocabulary import FIRST_CODE, read_tokenizer
from zipar_worker.families.vq.movqgan import MoVQConfig, MoVQDecoder, SpatialDecoder, movq_config_of_tensors
from zipar_worker.wire.protocol import HubSource, TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "lumina_mgpt_2_official.json").read_text())
CODE_COUNT = 64
GUIDANCE_SCALE = 4.0
OPTIONS = OpenOptions(size=(64, 64))
VQ = Path("movqgan/270M/movqgan_270M.ckpt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lumina") / "Lumina-mGPT-2.0"
    write_tiny(["lumina-mgpt-2", "--out", str(directory), "--seed", "5"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """Its files are links to those of `tiny`, which are replaced where one is changed, never written to."""
    copied = tmp_path / tiny.name
    for file in (file for file in tiny.rglob("*") if file.is_file()):
        (copied / file.relative_to(tiny)).parent.mkdir(parents=True, exist_ok=True)
        os.link(file, copied / file.relative_to(tiny))
    return copied


@pytest.fixture(scope="module")
def driver(tiny: Path) -> Driver:
    return start(tiny, image_count=1, dtype="float32", size=(64, 64))


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PromptTokenizer:
    return read_tokenizer(tiny, FIRST_CODE + CODE_COUNT)


class Masked:
    """transformers' Chameleon on the same files, for whole passes under a mask."""

    def __init__(self, path: Path) -> None:
        fields = json.loads((path / "config.json").read_bytes())
        small_vq = {"base_channels": 32, "embed_dim": 8, "num_embeddings": 8, "latent_channels": 8}
        config = ChameleonConfig(
            **{key: fields[key] for key in fields if key not in ("model_type", "torch_dtype")}, vq_config=small_vq
        )
        tensors = {name: tensor.float() for name, tensor in open_checkpoint(path).tensors.items()}
        self.head = tensors.pop("lm_head.weight")
        self.model = ChameleonModel._from_config(config, attn_implementation="eager").eval()
        state = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        heads = config.num_attention_heads
        for name, tensor in state.items():
            if "q_norm" in name or "k_norm" in name:
                state[name] = tensor.repeat_interleave(heads // len(tensor), dim=0)
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert unexpected == []
        assert all(name.startswith("vqmodel.") for name in missing)

    def logits(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        hidden = self.model(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        logits: Tensor = hidden[0] @ self.head.T
        return logits


@pytest.mark.parametrize("case", OFFICIAL["images"], ids=lambda case: f"{case['width']}x{case['height']}")
@torch.inference_mode()
def test_greedy_tokens_and_pixels_equal_those_of_the_official_code(driver: Driver, case: dict[str, Any]) -> None:
    rows, columns = case["height"] // 8, case["width"] // 8
    codes = generate(driver, encode_request(rows, columns, case["prompt"]), GUIDANCE_SCALE)
    assert [code for row in codes for code in row] == case["codes"]
    assert len(set(case["codes"])) > 20
    assert driver.executor._family is not None
    pixels = driver.executor._family.decode_image(torch.tensor(codes))
    assert pixels.shape == (case["height"], case["width"], 3)
    torch.testing.assert_close(pixels.flatten()[::37], torch.tensor(case["pixels"]), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_tokens_by_windows_equal_whole_passes_under_the_mask_of_the_window(
    driver: Driver, tiny: Path, tokenizer: PromptTokenizer
) -> None:
    prompts = [tokenizer.conditional("a red cube", 32, 64), tokenizer.unconditional(32, 64)]
    vocabulary = tokenizer.vocabulary
    ids = [*vocabulary.codes, vocabulary.row_end]
    drawn = generate_by_window(driver, encode_request(8, 4, "a red cube"), 2, GUIDANCE_SCALE)
    assert drawn == masked_by_window(Masked(tiny).logits, prompts, ids, 8, 4, 2, GUIDANCE_SCALE)


@pytest.mark.parametrize("case", OFFICIAL["vq"], ids=["attention at the coarsest resolution", "attention at two"])
@torch.inference_mode()
def test_movqgan_decodes_the_official_pixels(case: dict[str, Any]) -> None:
    config = MoVQConfig(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in case["config"].items()}
    )
    decoder = MoVQDecoder(config, SpatialDecoder(config))
    state = seeded_state({name: parameter.shape for name, parameter in decoder.named_parameters()}, case["seed"])
    decoder.load_state_dict(state)
    assert movq_config_of_tensors(Checkpoint(Path("movqgan.ckpt"), state)) == config
    pixels = decoder.decode(torch.tensor(case["tokens"]).view(1, case["rows"], case["columns"]))
    torch.testing.assert_close(pixels.flatten(), torch.tensor(case["decoded"]), atol=1e-4, rtol=0)


def test_prompts_have_the_official_ids_and_then_the_forced_size(tokenizer: PromptTokenizer) -> None:
    assert len(OFFICIAL["prompts"]) > 250
    for case in OFFICIAL["prompts"]:
        # The ids of the tiny tokenizer are the official ones: <racm3:break>, then a length of n units of 32 pixels.
        size = [151665, *(151671 + side // 32 for side in (case["height"], case["width"]))]
        arguments = (case["width"], case["height"])
        assert tokenizer.conditional(case["prompt"], *arguments) == case["tokens"] + size, case["prompt"]
        assert tokenizer.unconditional(*arguments) == size


@pytest.mark.parametrize("name", ["<reserved08706>", "<|endoftext|>", "<racm3:break>", "<reserved08824>", "<|im_end|>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tokenizer: PromptTokenizer, name: str) -> None:
    words = tokenizer.conditional(f"a {name} b", 64, 64)[1:-4]
    assert all(token < 151643 for token in words)


def test_prompts_begin_with_the_first_token_of_the_tokenizer_or_its_last(copy: Path) -> None:
    replace_text(
        copy / "tokenizer_config.json", lambda text: text.replace('"bos_token": null', '"bos_token": "<|im_start|>"')
    )
    assert read_tokenizer(copy, FIRST_CODE + 1).conditional("x", 64, 64)[0] == 151644
    as_object = '"bos_token": {"content": "<|im_end|>", "special": true}'
    replace_text(copy / "tokenizer_config.json", lambda text: text.replace('"bos_token": "<|im_start|>"', as_object))
    assert read_tokenizer(copy, FIRST_CODE + 1).conditional("x", 64, 64)[0] == 151645


def test_the_branches_are_padded_to_one_length_and_count_positions_from_their_own_start(driver: Driver) -> None:
    encoded = driver.executor.encode_prompt(encode_request(8, 8, "an otter"))
    driver.executor.release([1])
    assert [(branch.name, branch.padding, branch.position_offset) for branch in encoded.branches] == [
        ("conditional", 0, 0),
        ("unconditional", encoded.prompt_length - 3, encoded.prompt_length - 3),
    ]


def test_prompts_that_the_model_cannot_take_are_refused(driver: Driver) -> None:
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        driver.executor.encode_prompt(encode_request(8, 8, "q" * MAXIMAL_PROMPT_TOKENS))
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match="takes no negative prompt") as caught:
        driver.executor.encode_prompt(encode_request(8, 8, "an otter", "blurry"))
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match=r"makes grids of 8 x 8, 4 x 16, .* tokens, received 8 x 9"):
        driver.executor.encode_prompt(encode_request(8, 9, "an otter"))


def test_the_card_tells_the_official_sizes_and_defaults(tiny: Path) -> None:
    description = open_family(tiny, OpenOptions()).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.name, card.row_end) == ("lumina-mgpt-2", "Lumina-mGPT-2.0", "token")
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    assert (card.defaults.guidance_scale, card.defaults.temperature, card.defaults.window) == (4.0, 1.0, 24)
    sizes = [(grid.width, grid.height) for grid in card.grids]
    official = [tuple(size) for size in OFFICIAL["sizes"]]
    assert sizes[0] == (768, 768)
    assert sizes[1:] == [size for size in official if size != (768, 768)]
    assert (card.grids[0].rows, card.grids[0].columns) == (96, 96)
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + max(grid.rows * (grid.columns + 1) for grid in card.grids)


@pytest.mark.parametrize(("size", "target"), [(None, 768), ((1152, 480), 768), ((512, 512), 512), ((64, 64), 64)])
def test_a_square_of_another_size_may_be_asked_for(tiny: Path, size: tuple[int, int] | None, target: int) -> None:
    card = open_family(tiny, OpenOptions(size=size)).describe(torch.float32).card
    assert (card.grids[0].width, card.grids[0].height) == (target, target)
    assert len(card.grids) == len(known_sizes(target))


def test_a_size_that_no_such_model_has_is_refused_with_those_that_it_has(tiny: Path) -> None:
    with pytest.raises(WorkerError, match=r"gives the model 10240 positions.*take 11"):
        open_family(tiny, OpenOptions(size=(832, 832)))
    with pytest.raises(WorkerError, match=r"100 x 90 pixels is a size of no Lumina-mGPT 2\.0\. Expected.*768x768"):
        open_family(tiny, OpenOptions(size=(100, 90)))


@pytest.mark.parametrize("name", ["Alpha-VLLM/Lumina-mGPT-2.0", "Alpha-VLLM/Lumina-mGPT-2.0-Omni"])
def test_a_name_on_the_hub_brings_the_image_tokenizer(name: str) -> None:
    vq = companions_of(HubSource(repository=name, path=None, revision=None)).vq
    assert vq is not None
    assert (vq.repository, vq.path) == ("ai-forever/MoVQGAN", "movqgan_270M.ckpt")


def test_the_image_tokenizer_may_lie_elsewhere_or_nowhere(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = (copy / VQ).rename(tmp_path / "elsewhere" / "movqgan_270M.ckpt")
    for place in (file, file.parent):
        card = open_family(copy, OpenOptions(size=(64, 64), vq_path=place)).describe(torch.float32).card
        assert card.image_decoder is not None
    assert open_family(copy, OPTIONS).describe(torch.float32).card.image_decoder is None
    with pytest.raises(WorkerError, match=r"holds no movqgan_270M\.ckpt\. Download it from ai-forever/MoVQGAN"):
        open_family(copy, OpenOptions(vq_path=copy))


def test_what_the_official_code_leaves_aside_is_left_aside(copy: Path) -> None:
    rewrite(copy, lambda state: state | {"model.vqmodel.quantize.embedding.weight": torch.ones(2, 2)})
    rewrite_vq(copy, lambda state: state | {"ema_decoder.decoderconv_inweight": torch.ones(2), "loss.x": torch.ones(1)})
    open_family(copy, OPTIONS).load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)


def rewrite_vq(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(directory / VQ, weights_only=True)
    (directory / VQ).unlink()
    torch.save(change(state), directory / VQ)


def rename_token(directory: Path, before: str, after: str) -> None:
    edit(directory / "tokenizer.json", before, after)


UP = "model.layers.1.mlp.up_proj.weight"
Q_NORM = "model.layers.0.self_attn.q_norm.weight"
SHARD = "model-00001-of-00002.safetensors"
SPOILT: dict[str, Spoilt] = {
    "a missing tensor": (
        lambda path: rewrite(path, lambda state: without(state, UP)),
        r"model\.safetensors lacks 1 tensors.*layers\.1\.mlp\.up_proj\.weight",
    ),
    "a tensor too many": (
        lambda path: rewrite(path, lambda state: state | {"model.layers.0.mlp.up_proj.bias": torch.zeros(3)}),
        r"model\.safetensors holds 1 tensors that this model has no place for: model\.layers\.0\.mlp\.up",
    ),
    "a tensor of another shape": (
        lambda path: rewrite(path, lambda state: state | {UP: state[UP][:50]}),
        r"the tensor model\.layers\.1\.mlp\.up_proj\.weight has the shape \[50, 32\]",
    ),
    "a head of another size": (
        lambda path: rewrite(path, lambda state: state | {"lm_head.weight": state["lm_head.weight"][:-1]}),
        r"model\.safetensors: the tensor lm_head\.weight has the shape \[155063, 32\]",
    ),
    "no head": (
        lambda path: rewrite(path, lambda state: without(state, "lm_head.weight")),
        r"lacks lm_head\.weight.*tie_word_embeddings",
    ),
    "norms that no heads can share": (
        lambda path: rewrite(path, lambda state: state | {Q_NORM: torch.ones(3, 8)}),
        r"q_norm\.weight has the shape \[3, 8\]; this model needs \[4, 8\]",
    ),
    "head norms without a bias": (
        lambda path: rewrite(path, lambda state: without(state, Q_NORM.replace("weight", "bias"))),
        r"lacks 1 tensors.*q_norm\.bias",
    ),
    "a missing shard": (lambda path: (path / SHARD).unlink(), r"model-00001-of-00002\.safetensors.*missing"),
    "flipped bits": (
        lambda path: replace_bytes(path / SHARD, lambda content: content[:9] + b"\xff" + content[10:]),
        r"model-00001-of-00002\.safetensors",
    ),
    "a cut shard": (
        lambda path: cut(path / SHARD),
        r"model-00001-of-00002\.safetensors",
    ),
    "another activation": (
        lambda path: set_fields(path / "config.json", hidden_act="relu"),
        r"config\.json cannot be used: its activation is 'relu'",
    ),
    "scaled positions": (
        lambda path: set_fields(path / "config.json", rope_scaling={"type": "linear", "factor": 2.0}),
        r"config\.json cannot be used: it scales its positions by 'linear'",
    ),
    "heads of no whole size": (
        lambda path: set_fields(path / "config.json", num_attention_heads=7),
        "a width of 32 cannot be shared by 7 heads",
    ),
    "a negative size": (
        lambda path: set_fields(path / "config.json", hidden_size=-1),
        r"config\.json cannot be used",
    ),
    "more layers than tensors": (
        lambda path: set_fields(path / "config.json", num_hidden_layers=900),
        r"config\.json asks for 900 layers",
    ),
    "few positions": (
        lambda path: set_fields(path / "config.json", max_position_embeddings=512),
        r"config\.json cannot be used: it gives the model 512 positions.*take 592",
    ),
    "a model that draws nothing": (
        lambda path: set_fields(path / "config.json", mask_image_logits=True),
        r"config\.json cannot be used: mask_image_logits is true",
    ),
    "another number of codes": (
        lambda path: set_fields(path / "config.json", vocab_size=FIRST_CODE + 63),
        r"movqgan_270M\.ckpt has 64 codes, but the vocabulary of .* has 63.*ai-forever/MoVQGAN",
    ),
    "no tokenizer": (
        lambda path: (path / "tokenizer.json").unlink(),
        r"tokenizer\.json.*(cannot be read|Download it)",
    ),
    "no tokenizer_config.json": (
        lambda path: (path / "tokenizer_config.json").unlink(),
        r"tokenizer_config\.json cannot be read.*Download it",
    ),
    "no token that begins a prompt": (
        lambda path: set_fields(path / "tokenizer_config.json", eos_token=None),
        r"tokenizer_config\.json cannot be used: it names neither a bos_token nor an eos_token",
    ),
    "a first token that is none": (
        lambda path: set_fields(path / "tokenizer_config.json", bos_token="<s>"),
        r"tokenizer\.json lacks the token <s>.*Alpha-VLLM/Lumina-mGPT-2\.0",
    ),
    "an empty tokenizer": (
        lambda path: replace_text(path / "tokenizer.json", lambda text: "{}"),
        r"tokenizer\.json is no tokenizer file",
    ),
    "the tokenizer of Qwen": (
        lambda path: rename_token(path, "<racm3:break>", "<|vision_start|>"),
        r"tokenizer\.json lacks the token <racm3:break>.*tokenizer of another model",
    ),
    "no row end": (
        lambda path: rename_token(path, "<reserved08799>", "<other>"),
        r"lacks the token <reserved08799>",
    ),
    "no token for a size": (
        lambda path: rename_token(path, "<reserved08804>", "<other>"),
        r"no tokens for the lengths 128",
    ),
    "a codebook of another width": (
        lambda path: rewrite_vq(path, lambda state: state | {"quantize.embedding.weight": torch.ones(64, 5)}),
        r"movqgan_270M\.ckpt: the tensor post_quant_conv\.weight has the shape \[4, 4, 1, 1\]",
    ),
    "no codebook": (
        lambda path: rewrite_vq(path, lambda state: without(state, "quantize.embedding.weight")),
        r"movqgan_270M\.ckpt lacks .*quantize\.embedding\.weight",
    ),
    "a block that is missing in the image tokenizer": (
        lambda path: rewrite_vq(path, lambda state: without(state, "decoder.up.1.block.0.conv2.weight")),
        r"movqgan_270M\.ckpt lacks 1 tensors.*decoder\.up\.1\.block\.0\.conv2\.weight",
    ),
    "a tensor too many in the image tokenizer": (
        lambda path: rewrite_vq(path, lambda state: state | {"decoder.extra": torch.ones(1)}),
        r"movqgan_270M\.ckpt holds 1 tensors that this model has no place for: decoder\.extra",
    ),
    "an image tokenizer with fewer resolutions": (
        lambda path: rewrite_vq(
            path, lambda state: {key: value for key, value in state.items() if "decoder.up.3." not in key}
        ),
        r"movqgan_270M\.ckpt makes 4 x 4 pixels of a token, but Lumina-mGPT 2\.0 plans images of 8 x 8",
    ),
    "the image tokenizer of another family": (
        lambda path: rewrite_vq(
            path,
            lambda state: {key.replace("decoder.up.", "decoder.conv_blocks."): value for key, value in state.items()},
        ),
        r"movqgan_270M\.ckpt is no decoder of MoVQGAN: expected resolutions",
    ),
    "an image tokenizer that is no file of weights": (
        lambda path: replace_bytes(path / VQ, lambda content: b"nothing"),
        r"movqgan_270M\.ckpt",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_checkpoint_is_refused_with_the_file_and_the_reason(copy: Path, name: str) -> None:
    check_refused(copy, SPOILT[name], OPTIONS)


def test_a_vocabulary_without_room_for_codes_is_that_of_no_lumina_2(copy: Path) -> None:
    set_fields(copy / "config.json", vocab_size=FIRST_CODE)
    (copy / "zipar.json").write_text(json.dumps({"formatVersion": 1, "family": "lumina-mgpt-2"}))
    with pytest.raises(WorkerError, match=r"config\.json cannot be used: its vocab_size is 155000; expected more"):
        open_family(copy, OPTIONS)
