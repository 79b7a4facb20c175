"""Emu3-Gen against transformers' own classes and figures of the official code (fixtures/emu3_official.json)."""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import token_images
import torch
from executor_driver import DRAW, NONE, Feed, forward_request, start
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from token_images import generate, generate_by_window, masked_by_window
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import Emu3ForCausalLM, Emu3ForConditionalGeneration, Emu3Processor, Emu3VQVAE, Emu3VQVAEConfig

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import Checkpoint, load_module_, open_checkpoint, stored_shapes, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.facts import image_grids, model_of
from zipar_worker.families.emu3.files import Files
from zipar_worker.families.emu3.vocabulary import (
    BEGIN_IMAGE,
    END_ROW,
    NEGATIVE_PROMPT,
    PADDING,
    POSITIVE_SUFFIX,
    SPECIAL_NAMES,
    Vocabulary,
    read_tiktoken,
    read_tokenizer_json,
)
from zipar_worker.families.emu3.vq import ORIGINAL_KEYS, ImageTokenizer, adapt_vq_tensor, converted_keys
from zipar_worker.families.llama_config import LlamaConfig
from zipar_worker.families.model import OpenedModel
from zipar_worker.families.transformer import LLAMA_MODEL_KEYS
from zipar_worker.families.unreadable import reads_everything
from zipar_worker.families.vq.emu3 import Emu3VQConfig, Emu3VQDecoder
from zipar_worker.wire.arrays import Array
from zipar_worker.wire.protocol import ClassConditioning, EncodePrompt

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "emu3_official.json").read_text())
LAYOUTS = ("original", "hf")
PROMPT = "a portrait of a young café"
GUIDANCE_SCALE = 3.0

CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights in both layouts."""
    paths = {layout: tmp_path_factory.mktemp(layout) for layout in LAYOUTS}
    for layout, path in paths.items():
        write_tiny(["emu3", "--out", str(path), "--seed", "1", "--layout", layout])
    return paths


@pytest.fixture
def broken(checkpoints: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may break."""

    def copy(layout: str) -> Path:
        return shutil.copytree(checkpoints[layout], tmp_path / "model")

    return copy


def encode_request(
    rows: int, columns: int, prompt: str = PROMPT, negative: str | None = None, cache_rows: tuple[int, ...] = (0, 1)
) -> EncodePrompt:
    return token_images.encode_request(rows, columns, prompt, negative, cache_rows)


def official_codes(
    logits_of: Callable[[Tensor], Tensor], prompts: list[list[int]], vocabulary: Vocabulary, rows: int, columns: int
) -> list[list[int]]:
    """Whole sequences without a cache, and the official guidance: on the logarithms of probabilities."""
    first, end = vocabulary.first_code, vocabulary.first_code + vocabulary.code_count
    generated: list[int] = []
    codes: list[list[int]] = []
    for _ in range(rows):
        row: list[int] = []
        for _ in range(columns):
            conditional, unconditional = (
                logits_of(torch.tensor([ids + generated]))[0, -1].log_softmax(dim=-1) for ids in prompts
            )
            scores = GUIDANCE_SCALE * (conditional - unconditional) + unconditional
            row.append(int(scores[first:end].argmax()))
            generated.append(first + row[-1])
        generated.append(vocabulary.ids[END_ROW])
        codes.append(row)
    return codes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("rows", "columns", "negative"), [(6, 6, None), (4, 8, "blurry")], ids=["1:1", "16:9 and a shorter negative prompt"]
)
@torch.inference_mode()
def test_greedy_tokens_with_guidance_equal_those_of_transformers(
    checkpoints: dict[str, Path], layout: str, rows: int, columns: int, negative: str | None
) -> None:
    path = checkpoints[layout]
    model_class = Emu3ForCausalLM if layout == "original" else Emu3ForConditionalGeneration
    model = model_class.from_pretrained(path, dtype=torch.float32).eval()
    vocabulary = read_tiktoken(path) if layout == "original" else read_tokenizer_json(path)
    texts = (PROMPT + POSITIVE_SUFFIX, NEGATIVE_PROMPT if negative is None else negative)
    prompts = [vocabulary.encode_prompt(text, rows, columns) for text in texts]
    assert len(prompts[0]) != len(prompts[1])
    expected = official_codes(lambda ids: model(input_ids=ids).logits, prompts, vocabulary, rows, columns)
    driver = start(path)
    assert generate(driver, encode_request(rows, columns, negative=negative), GUIDANCE_SCALE) == expected
    assert len({code for row in expected for code in row}) > 6


@pytest.mark.parametrize("window", [1, 2, 3, 8])
@torch.inference_mode()
def test_greedy_tokens_at_any_window_equal_those_of_one_masked_pass_of_transformers(
    checkpoints: dict[str, Path], window: int
) -> None:
    path, rows, columns = checkpoints["original"], 4, 8
    model = Emu3ForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    vocabulary = read_tiktoken(path)
    prompts = [vocabulary.encode_prompt(text, rows, columns) for text in (PROMPT + POSITIVE_SUFFIX, "blurry")]
    first, end = vocabulary.first_code, vocabulary.first_code + vocabulary.code_count
    ids = [*range(first, end), vocabulary.ids[END_ROW]]

    def logits_of(tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=tokens, position_ids=positions, attention_mask=mask).logits
        return logits[0]

    expected = masked_by_window(logits_of, prompts, ids, rows, columns, window, GUIDANCE_SCALE)
    driver, request = start(path), encode_request(rows, columns, negative="blurry")
    assert generate_by_window(driver, request, window, GUIDANCE_SCALE) == expected
    if window == columns:
        assert generate(driver, request, GUIDANCE_SCALE) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_pixels_equal_those_of_the_official_code(checkpoints: dict[str, Path], layout: str) -> None:
    figures = OFFICIAL["vision_tokenizer"]
    codes = torch.tensor(figures["codes"])
    family = open_family(checkpoints[layout], OpenOptions()).load(
        dtype=torch.float32, device=torch.device("cpu"), report=lambda phase, completed, total, unit: None
    )
    pixels = family.decode_image(codes)
    assert pixels.shape == (8 * codes.shape[0], 8 * codes.shape[1], 3)
    sample = pixels.flatten()[:: figures["pixel_stride"]]
    torch.testing.assert_close(sample, torch.tensor(figures["pixels"]), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_one_frame_equals_the_first_of_the_four_that_transformers_decodes(checkpoints: dict[str, Path]) -> None:
    model = Emu3ForConditionalGeneration.from_pretrained(checkpoints["hf"], dtype=torch.float32).eval()
    codes = torch.randint(64, (7, 4), generator=torch.Generator().manual_seed(5))
    expected = model.model.vqmodel.decode(codes[None])[0].permute(1, 2, 0)
    driver = start(checkpoints["hf"])
    torch.testing.assert_close(driver.executor._family.decode_image(codes), expected, atol=1e-5, rtol=0)
    levels = driver.executor.decode_image(Array("codes", "int32", (7, 4), memoryview(array("i", codes.flatten()))))
    assert levels.shape == (56, 32, 3)


VQ_SIZES = {
    "as published, in small": {"channel_multiplier": (1, 1, 1, 2), "attn_resolutions": (3,), "num_res_blocks": 2},
    "attention at two resolutions": {"channel_multiplier": (2, 2), "attn_resolutions": (0, 1), "num_res_blocks": 1},
    "no frames to double": {"channel_multiplier": (1, 2), "attn_resolutions": (), "temporal_downsample_factor": 1},
}


@pytest.mark.parametrize("name", VQ_SIZES)
@torch.inference_mode()
def test_the_image_decoder_equals_that_of_transformers(name: str, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"codebook_size": 64, "base_channels": 32, **VQ_SIZES[name]}
    torch.manual_seed(2)
    model = Emu3VQVAE(Emu3VQVAEConfig(**sizes, hidden_size=32 * sizes["channel_multiplier"][-1]))
    for part in [*model.parameters(), *model.buffers()]:
        if part.is_floating_point():
            part.copy_(part + 0.1 * torch.randn(part.shape))
    own = {"channel_multiplier": "ch_mult", "base_channels": "ch"}
    with without_weights():
        decoder = Emu3VQDecoder(Emu3VQConfig(**{own.get(key, key): value for key, value in sizes.items()}))
    file = tmp_path / "model.safetensors"
    save_file({f"vqmodel.{key}": tensor.contiguous() for key, tensor in model.state_dict().items()}, file)
    load_module_(
        decoder,
        open_checkpoint(file),
        dtype=torch.float32,
        device=torch.device("cpu"),
        report=lambda completed, total: None,
        keys=converted_keys("vqmodel."),
        adapt=adapt_vq_tensor,
    )
    codes = torch.randint(64, (2, 5, 3))
    # One still image: the library decodes several frames of it, of which the first is meant.
    expected = torch.cat([model.eval().decode(image[None])[:1] for image in codes])
    pixels = decoder.decode(codes)
    assert pixels.std() > 0.1
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=1e-5)


def test_the_tiny_image_tokenizer_has_the_official_keys_and_shapes(checkpoints: dict[str, Path]) -> None:
    with safe_open(checkpoints["original"] / "Emu3-VisionTokenizer" / "model.safetensors", framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    lines = "\n".join(f"{name} {list(shapes[name])}" for name in sorted(shapes))
    assert len(shapes) == OFFICIAL["vision_tokenizer"]["key_count"]
    assert hashlib.sha256(lines.encode()).hexdigest() == OFFICIAL["vision_tokenizer"]["keys_sha256"]


def test_the_eight_sizes_are_the_official_ones() -> None:
    grids = [[grid.rows, grid.columns] for grid in image_grids(720 * 720, 8)]
    assert grids == list(OFFICIAL["sizes"].values())
    # 9 / 4 * 8 / 8 is 4.5 rows, which Python rounds to even.
    assert (4, 8) in [(grid.rows, grid.columns) for grid in image_grids(48 * 48, 8)]


@pytest.mark.parametrize("prompt", OFFICIAL["prompts"], ids=range(len(OFFICIAL["prompts"])))
def test_the_original_layout_encodes_prompts_as_the_official_code(
    checkpoints: dict[str, Path], prompt: dict[str, Any]
) -> None:
    vocabulary = read_tiktoken(checkpoints["original"])
    assert vocabulary.encode_prompt(prompt["text"], OFFICIAL["rows"], OFFICIAL["columns"]) == prompt["ids"]


@pytest.mark.parametrize("prompt", OFFICIAL["prompts"], ids=range(len(OFFICIAL["prompts"])))
def test_the_hf_layout_encodes_prompts_as_the_processor_of_transformers(
    checkpoints: dict[str, Path], prompt: dict[str, Any]
) -> None:
    processor = Emu3Processor.from_pretrained(checkpoints["hf"])
    encoded = processor(text=[prompt["text"]], return_for_image_generation=True, ratio="16:9", image_area=48 * 48)
    vocabulary = read_tokenizer_json(checkpoints["hf"])
    assert vocabulary.encode_prompt(prompt["text"], 4, 8) == encoded["input_ids"][0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_tokens_in_a_prompt_are_spelled_out(checkpoints: dict[str, Path], layout: str) -> None:
    vocabulary = (read_tiktoken if layout == "original" else read_tokenizer_json)(checkpoints[layout])
    ids = vocabulary.encode_text("a cat <|image start|>90*90<|image token|><|visual token 000001|><image><|extra_204|>")
    assert max(ids) < vocabulary.ids[PADDING]
    assert vocabulary.ids[BEGIN_IMAGE] in vocabulary.encode_prompt("a cat", 6, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_shorter_branch_is_padded_on_the_left(checkpoints: dict[str, Path], layout: str) -> None:
    driver = start(checkpoints[layout])
    encoded = driver.executor.encode_prompt(encode_request(6, 6, negative=""))
    conditional, unconditional = encoded.branches
    assert (conditional.name, conditional.padding, conditional.position_offset) == ("conditional", 0, 0)
    assert unconditional.name == "unconditional"
    assert unconditional.padding == unconditional.position_offset > 10
    driver.executor.release([1])
    alone = driver.executor.encode_prompt(encode_request(6, 6, prompt="", cache_rows=(1,)))
    assert [branch.name for branch in alone.branches] == ["conditional"]
    assert alone.branches[0].padding == 0


def test_what_a_prompt_cannot_be_is_refused(checkpoints: dict[str, Path]) -> None:
    driver = start(checkpoints["original"])
    with pytest.raises(WorkerError, match=r"The prompt has \d+ tokens.* at most 214 ") as too_long:
        driver.executor.encode_prompt(encode_request(6, 6, prompt="日" * 100))
    assert too_long.value.code == "prompt"
    with pytest.raises(WorkerError, match="The negative prompt has"):
        driver.executor.encode_prompt(encode_request(6, 6, negative="日" * 100))
    with pytest.raises(WorkerError, match=r"makes grids of 6 x 6, 4 x 8, .* received 6 x 7"):
        driver.executor.encode_prompt(encode_request(6, 7))
    request = encode_request(6, 6)
    with pytest.raises(WorkerError, match="takes text, received a class"):
        driver.executor.encode_prompt(
            EncodePrompt(
                **{name: getattr(request, name) for name in request.__struct_fields__ if name != "conditioning"},
                conditioning=ClassConditioning(class_index=0),
            )
        )


@pytest.mark.parametrize("place", ["child", "sibling", "given", "nowhere"])
def test_the_image_tokenizer_is_found_within_beside_or_where_it_is_said_to_be(
    broken: Callable[[str], Path], place: str
) -> None:
    path = broken("original")
    vq_path = None
    if place == "sibling":
        shutil.move(path / "Emu3-VisionTokenizer", path.parent / "vision_tokenizer")
    elif place == "given":
        vq_path = Path(shutil.move(path / "Emu3-VisionTokenizer", path.parent / "elsewhere"))
    elif place == "nowhere":
        shutil.rmtree(path / "Emu3-VisionTokenizer")
    description = open_family(path, OpenOptions(vq_path=vq_path)).describe(torch.float32)
    assert (description.card.image_decoder is None) == (place == "nowhere")
    assert ("image tokenizer" in description.weight_bytes) == (place != "nowhere")


def edit_config(path: Path, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """In the shard that holds the final norm, or in the only file."""
    index_path = path / "model.safetensors.index.json"
    if not index_path.is_file():
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors")
        return
    index = json.loads(index_path.read_text())
    shard = next(place for name, place in index["weight_map"].items() if name.endswith("model.norm.weight"))
    tensors = load_file(path / shard)
    change(tensors)
    save_file(tensors, path / shard)
    kept = {name: place for name, place in index["weight_map"].items() if place != shard}
    index_path.write_text(json.dumps(index | {"weight_map": kept | dict.fromkeys(tensors, shard)}))


def break_vision_config(**changes: object) -> Callable[[Path], None]:
    return lambda path: edit_config(path / "Emu3-VisionTokenizer", **changes)


def remove_added_tokens(path: Path) -> None:
    content = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(content | {"added_tokens": []}))


BREAKAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a tensor is missing": (
        "original",
        lambda path: edit_tensors(path, lambda tensors: tensors.pop("model.norm.weight")),
        "lacks 1 tensors that this model needs: model.norm.weight",
    ),
    "a tensor is left over": (
        "original",
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"model.q_norm.weight": torch.ones(4)})),
        "no place for: model.q_norm.weight",
    ),
    "a tensor has another shape": (
        "original",
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"model.norm.weight": torch.ones(4)})),
        r"model.norm.weight has the shape \[4\]; this model needs \[64\]",
    ),
    "a tensor of the hf layout is left over": (
        "hf",
        lambda path: edit_tensors(path, lambda tensors: tensors.update({"text_model.model.q.weight": torch.ones(4)})),
        "no place for: text_model.model.q.weight",
    ),
    "a tensor of the image tokenizer is missing": (
        "original",
        lambda path: edit_tensors(
            path / "Emu3-VisionTokenizer", lambda tensors: tensors.pop("decoder.mid.attn_1.q.weight")
        ),
        "lacks 1 tensors that this model needs: decoder.mid.attn_1.q.weight",
    ),
    "the output layer is for another vocabulary": (
        "original",
        lambda path: edit_config(path, vocab_size=600),
        r"lm_head.weight has the shape \[\d+, 64\]; .*config.json asks for \[600, 64\]",
    ),
    "a shard is missing": (
        "original",
        lambda path: (path / "model-00001-of-00002.safetensors").unlink(),
        "The shard model-00001-of-00002.safetensors.* is missing. Download it",
    ),
    "the configuration has a wrong type": (
        "original",
        lambda path: edit_config(path, hidden_size="64"),
        "config.json cannot be used: .*hidden_size.* Download it again",
    ),
    "the configuration has another activation": (
        "original",
        lambda path: edit_config(path, hidden_act="gelu"),
        "config.json cannot be used: its activation is 'gelu'; expected 'silu'",
    ),
    "the configuration scales positions": (
        "original",
        lambda path: edit_config(path, rope_scaling={"type": "linear", "factor": 2.0}),
        "config.json cannot be used: it scales its positions by 'linear'",
    ),
    "the area is no number": (
        "original",
        lambda path: edit_config(path, image_area="large"),
        "image_area is 'large'; expected pixels",
    ),
    "the area leaves no room for a prompt": (
        "original",
        lambda path: edit_config(path, image_area=720 * 720),
        "knows 256 positions, too few for images of 518400 pixels",
    ),
    "the ids are those of another vocabulary": (
        "original",
        lambda path: edit_config(path, boi_token_id=7),
        r"config.json gives the token <\|image start\|> the id 7, .*emu3_vision_tokens.txt the id \d+",
    ),
    "the text vocabulary is missing": (
        "original",
        lambda path: (path / "emu3.tiktoken").unlink(),
        "The tokenizer file .*emu3.tiktoken is missing. Download it",
    ),
    "the vision tokens are missing": (
        "original",
        lambda path: (path / "emu3_vision_tokens.txt").unlink(),
        "The tokenizer file .*emu3_vision_tokens.txt is missing. Download it",
    ),
    "the text vocabulary is no vocabulary": (
        "original",
        lambda path: (path / "emu3.tiktoken").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "emu3.tiktoken cannot be read as a tiktoken vocabulary .* Download it again",
    ),
    "the vision tokens are cut off": (
        "original",
        lambda path: (path / "emu3_vision_tokens.txt").write_text("<|image token|>\n"),
        "emu3_vision_tokens.txt does not name the special tokens .*image start",
    ),
    "the tokenizer of the hf layout is missing": (
        "hf",
        lambda path: (path / "tokenizer.json").unlink(),
        "The tokenizer file .*tokenizer.json is missing. Download it",
    ),
    "the tokenizer of the hf layout is another one": (
        "hf",
        remove_added_tokens,
        "tokenizer.json does not name the special tokens",
    ),
    "the tokenizer of the hf layout is damaged": (
        "hf",
        lambda path: (path / "tokenizer.json").write_text('{"added_tokens": [], "model": 3}'),
        "tokenizer.json cannot be read as a tokenizer",
    ),
    "the hf layout lacks its image tokenizer's configuration": (
        "hf",
        lambda path: edit_config(path, vq_config=None),
        "config.json cannot be used: it has no vq_config",
    ),
    "the image tokenizer has another codebook": (
        "original",
        break_vision_config(codebook_size=32),
        "has 32 codes, but .* has 64 visual tokens.* use the image tokenizer that the model was trained with",
    ),
    "the image tokenizer is something else": (
        "original",
        break_vision_config(model_type="vit"),
        "describes a model of the type 'vit'; expected Emu3's image tokenizer",
    ),
    "the image tokenizer has no resolutions": (
        "original",
        break_vision_config(ch_mult=[]),
        "config.json cannot be used: of the image tokenizer, it has no resolutions",
    ),
    "the image tokenizer has an odd width": (
        "original",
        break_vision_config(ch=33),
        "config.json cannot be used: of the image tokenizer, its channels, 33, are no multiple of 32",
    ),
    "the image tokenizer makes other colours": (
        "original",
        break_vision_config(out_channels=4),
        "it makes 4 colour channels; expected 3",
    ),
    "the model is of another family": (
        "original",
        lambda path: edit_config(path, model_type="llama"),
        "model type 'llama'",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_checkpoint_says_what_is_wrong_with_which_file(broken: Callable[[str], Path], name: str) -> None:
    layout, damage, message = BREAKAGES[name]
    path = broken(layout)
    damage(path)
    with pytest.raises(WorkerError, match=f"(?s){message}") as error:
        start(path)
    assert error.value.code == "checkpoint"
    assert str(path) in error.value.message


def test_an_image_tokenizer_beside_the_checkpoint_may_not_lead_elsewhere(broken: Callable[[str], Path]) -> None:
    path = broken("original")
    beside = Path(shutil.move(path / "Emu3-VisionTokenizer", path.parent / "vision_tokenizer"))
    shutil.move(beside / "model.safetensors", path.parent / "elsewhere.safetensors")
    (beside / "model.safetensors").symlink_to(path.parent / "elsewhere.safetensors")
    with pytest.raises(WorkerError, match=r"model.safetensors is a link to .*elsewhere.safetensors, outside"):
        start(path)


def test_the_image_tokenizer_alone_is_no_model(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(WorkerError, match="type 'Emu3VisionVQ'; expected an Emu3 model") as error:
        start(checkpoints["original"] / "Emu3-VisionTokenizer")
    assert error.value.code == "checkpoint"


# The sizes of BAAI/Emu3-Gen.
OFFICIAL_CONFIG = LlamaConfig(
    vocab_size=184622,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=9216,
)
OFFICIAL_FIRST_CODE, OFFICIAL_CODES = 151854, 32768


def official_files() -> Files:
    """Files of the full size, whose tensors have no content."""
    width, inner, kv_width = 4096, 14336, 1024
    shapes = {"model.embed_tokens.weight": (184622, width), "model.norm.weight": (width,)}
    for layer in range(32):
        parts = {
            **{"input_layernorm": (width,), "post_attention_layernorm": (width,)},
            **{"self_attn.q_proj": (width, width), "self_attn.o_proj": (width, width)},
            **{"self_attn.k_proj": (kv_width, width), "self_attn.v_proj": (kv_width, width)},
            **{"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)},
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
    shapes["lm_head.weight"] = (184622, width)
    ids = dict(zip(SPECIAL_NAMES, (151643, 151849, 151852, 151851, 151846), strict=True))
    vocabulary = Vocabulary(
        Path(), lambda text: list(text.encode()), ids, OFFICIAL_FIRST_CODE, OFFICIAL_CODES, reads_everything
    )
    weights = Checkpoint(Path("Emu3-Gen"), {name: torch.empty(shape) for name, shape in shapes.items()})
    with without_weights():
        vq_shapes = stored_shapes(Emu3VQDecoder(Emu3VQConfig()), ORIGINAL_KEYS).values()
    vq_tensors = {key: torch.empty(shape) for stored in vq_shapes for key, shape in stored.items()}
    image_tokenizer = ImageTokenizer(
        Emu3VQConfig(), Checkpoint(Path("Emu3-VisionTokenizer"), vq_tensors), ORIGINAL_KEYS
    )
    return Files(OFFICIAL_CONFIG, weights, KeyMap(LLAMA_MODEL_KEYS), vocabulary, image_tokenizer, 720 * 720)


@pytest.fixture
def official_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenedModel]:
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    # The read-back is the one place that may wait, and there is nothing to read.
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    with FakeTensorMode():
        yield model_of(official_files())


def test_the_full_size_prefills_steps_and_decodes_on_cuda_within_the_estimated_memory(
    official_checkpoint: OpenedModel,
) -> None:
    description = official_checkpoint.describe(torch.bfloat16)
    card = description.card
    assert (card.name, card.code_count, card.defaults.top_k, card.defaults.window) == ("Emu3-Gen", 32768, 2048, 7)
    assert card.kv_bytes_per_slot == 128 * 1024
    assert card.conditioning.max_prompt_tokens == 9216 - 120 * 69
    family = official_checkpoint.load(
        dtype=torch.bfloat16, device=CUDA, report=lambda phase, completed, total, unit: None
    )
    executor = TorchExecutor()
    executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
    modules = {"transformer": family.transformer, "image tokenizer": family.image_decoder}
    for part, module in modules.items():
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.device for tensor in tensors} == {CUDA}
        counted = sum(tensor.nbytes for tensor in tensors)
        assert counted == pytest.approx(description.weight_bytes[part], rel=0.02)
    stored = sum(tensor.nbytes for tensor in [*executor._cache.keys, *executor._cache.values])
    assert stored == pytest.approx(2 * description.slot_count * card.kv_bytes_per_slot, rel=0.02)

    length = executor.encode_prompt(encode_request(90, 90)).prompt_length
    prefill = Feed(
        1,
        [(0, slot, DRAW if slot == length - 1 else NONE) for slot in range(length)],
        [(0, length)],
        [0.5],
        3.0,
        1.0,
        9,
    )
    assert executor.forward(forward_request(executor, [prefill])).shape == (2 * 3,)
    slots = [length + row * 91 + 7 * (14 - row) for row in range(14)]
    step = Feed(
        sequence=1,
        queries=[(OFFICIAL_CODES if slot == slots[3] else 5, slot, DRAW) for slot in slots],
        runs=[(0, slots[0] + 1), *((length + row * 91, slot + 1) for row, slot in enumerate(slots) if row)],
        uniforms=[0.5] * 14,
        guidance_scale=3.0,
        temperature=1.0,
        top_k=2048,
    )
    with FlopCounterMode(display=False) as flops:
        outcome = executor.forward(forward_request(executor, [step]))
    assert outcome.shape == (2 * 3 * 14,)
    assert outcome.device == CUDA
    # A step multiplies 28 rows, padded to 32, by every weight but the embeddings'; attention adds little.
    multiplied = card.parameter_count - 184622 * 4096
    assert flops.get_total_flops() == pytest.approx(2 * 32 * multiplied, rel=0.05)
    pixels = family.decode_image(torch.zeros(90, 90, dtype=torch.int64, device=CUDA))
    assert pixels.shape == (720, 720, 3)
    assert pixels.device == CUDA
