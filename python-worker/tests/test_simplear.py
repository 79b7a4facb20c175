"""The SimpleAR family on a tiny checkpoint in the official format: tokens, pixels, prompts, and every way to fail.

fixtures/simplear_official.json says how the official code was run.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import Driver, start
from full_size import Wavefront, check_an_image, empty_checkpoint, fake_gpu, load
from msgspec import structs
from safetensors.torch import save_file
from spoiling import Spoilt, check_refused, cut, edit, flip_bits, replace_bytes, rewrite, set_fields, without
from token_images import encode_request, generate_raster
from torch import Tensor

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_testing.tiny.simplear import tiny_tokenizer
from zipar_worker.checkpoints.program_file import read_program_file
from zipar_worker.checkpoints.weights import open_checkpoint, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.llama_config import with_tied_head
from zipar_worker.families.simplear.facts import MAXIMAL_PROMPT_TOKENS, model_of
from zipar_worker.families.simplear.files import DEFAULTS, KEYS, Files
from zipar_worker.families.simplear.prompt import NEGATIVE_PROMPT, SimpleARTokenizer
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.families.vq.cosmos import COSMOS_KEYS, CosmosConfig, CosmosDecoder
from zipar_worker.families.vq.cosmos_files import CosmosTokenizer
from zipar_worker.wire.protocol import HubSource, TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "simplear_official.json").read_text())
CODE_COUNT = 60
ROWS = 6
SIZE = (96, 96)
OPTIONS = OpenOptions(size=SIZE)
COSMOS = "Cosmos-1.0-Tokenizer-DV8x16x16"
DECODER = Path(COSMOS) / "decoder.jit"
WRITE = ["simplear", "--seed", "5", "--out"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("simplear") / "SimpleAR-0.5B-SFT"
    write_tiny([*WRITE, str(directory)])
    return directory


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the slow tokenizer of transformers saves it, without the image tokenizer."""
    directory = tmp_path_factory.mktemp("simplear-parts") / "rl"
    write_tiny([*WRITE, str(directory), "--tokenizer", "parts", "--no-vq"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / tiny.name)


@pytest.fixture(scope="module")
def driver(tiny: Path) -> Driver:
    return start(tiny, image_count=1, size=SIZE)


def encode(driver: Driver, prompt: str, *, negative_prompt: str | None = None, rows: int = ROWS) -> Any:
    return driver.executor.encode_prompt(encode_request(rows, rows, prompt, negative_prompt))


@pytest.mark.parametrize("case", OFFICIAL["generated"], ids=lambda case: f"guidance {case['guidance']}")
@torch.inference_mode()
def test_greedy_tokens_equal_those_of_the_official_code(driver: Driver, case: dict[str, Any]) -> None:
    assert generate_raster(driver, encode_request(ROWS, ROWS, case["prompt"]), case["guidance"]) == case["tokens"]


@torch.inference_mode()
def test_pixels_equal_those_of_the_official_decoder(driver: Driver) -> None:
    family = driver.executor._family
    assert family is not None
    pixels = family.decode_image(torch.tensor(OFFICIAL["generated"][0]["tokens"]).view(ROWS, ROWS)).permute(2, 0, 1)
    assert pixels.shape == (3, *SIZE)
    expected = OFFICIAL["pixels"]
    torch.testing.assert_close(pixels[:, ::12, ::12].flatten(), torch.tensor(expected["corner"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.mean((1, 2)), torch.tensor(expected["mean"]), atol=1e-4, rtol=0)


def test_prompts_have_the_official_ids_from_either_form_of_the_tokenizer(tiny: Path, parts: Path) -> None:
    assert len(OFFICIAL["prompts"]) > 250
    for directory in (tiny, parts):
        tokenizer = SimpleARTokenizer(directory)
        for prompt, digest in OFFICIAL["prompts"]:
            ids = tokenizer.conditional(prompt)
            assert sha256(json.dumps(ids).encode()).hexdigest()[:16] == digest, prompt
        assert tokenizer.unconditional(NEGATIVE_PROMPT) == OFFICIAL["unconditional"]


@pytest.mark.parametrize("name", ["<|t2i|>", "<|soi|>", "<|vtokens|>", "<|endoftext|>", "<|im_start|>", "<tool_call>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tiny: Path, name: str) -> None:
    tokenizer = SimpleARTokenizer(tiny)
    control = {token["id"] for token in json.loads((tiny / "tokenizer.json").read_text())["added_tokens"]}
    for ids in (tokenizer.conditional(f"a {name} b"), tokenizer.unconditional(name)):
        assert control.isdisjoint(ids[1:-1])


def test_the_negative_prompt_stands_where_the_official_one_does(driver: Driver, tiny: Path) -> None:
    tokenizer = SimpleARTokenizer(tiny)
    official = encode(driver, "an otter")
    driver.executor.release([1])
    own = encode(driver, "an otter", negative_prompt="")
    driver.executor.release([1])
    longest, short = len(OFFICIAL["unconditional"]), len(tokenizer.conditional("an otter"))
    assert [branch.padding for branch in official.branches] == [longest - short, 0]
    assert [branch.padding for branch in own.branches] == [0, short - len(tokenizer.unconditional(""))]


def test_prompts_that_the_model_cannot_take_are_refused(driver: Driver) -> None:
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        encode(driver, "q" * MAXIMAL_PROMPT_TOKENS)
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match=r"makes grids of 6 x 6 tokens, received 7 x 7") as caught:
        encode(driver, "an otter", rows=7)
    assert caught.value.code == "bad-request"


def test_the_card_tells_the_official_sizes_and_defaults(tiny: Path) -> None:
    description = open_family(tiny, OpenOptions()).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.row_end, card.code_count) == ("simplear", "none", CODE_COUNT)
    assert card.name == "SimpleAR-0.5B-SFT (image tokenizer under the NVIDIA Open Model License)"
    assert card.conditioning == TextCard(negative_prompt=NEGATIVE_PROMPT, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    defaults = card.defaults
    assert (defaults.guidance_scale, defaults.temperature, defaults.top_k, defaults.top_p) == (6.0, 1.0, 0, 1.0)
    assert defaults.window == 16
    assert [grid.width for grid in card.grids] == [1024, 768, 512, 256]
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + 64 * 64
    # Two layers, whose four heads of 8 numbers share two K and V.
    assert card.kv_bytes_per_slot == 2 * 2 * 16 * 2


@pytest.mark.parametrize("size", [(100, 100), (96, 192), (0, 0), (1040, 1040)])
def test_a_size_that_is_no_square_of_whole_tokens_is_refused(tiny: Path, size: tuple[int, int]) -> None:
    with pytest.raises(WorkerError, match=r"is a size of no SimpleAR\. Expected a square in steps of 16 pixels"):
        open_family(tiny, OpenOptions(size=size))


def test_the_image_tokenizer_may_lie_beside_or_elsewhere_or_nowhere(copy: Path, parts: Path, tmp_path: Path) -> None:
    shutil.move(copy / COSMOS, tmp_path / COSMOS)  # beside the checkpoint, as the official README has it
    assert open_family(copy, OPTIONS).image_tokenizer is not None
    shutil.move(tmp_path / COSMOS, tmp_path / "vq")
    for place in (tmp_path / "vq", tmp_path / "vq" / "decoder.jit"):
        opened = open_family(copy, OpenOptions(size=SIZE, vq_path=place))
        assert opened.image_tokenizer is not None
    opened = open_family(parts, OPTIONS)
    assert (opened.image_tokenizer, opened.name, opened.remarks) == (None, "SimpleAR rl", ())


def test_a_cosmos_tokenizer_of_smaller_tokens_is_told_by_its_name(copy: Path) -> None:
    other = (copy / COSMOS).rename(copy / "Cosmos-0.1-Tokenizer-DV8x8x8")
    with pytest.raises(WorkerError, match=r"of another Cosmos tokenizer, as the name Tokenizer-DV8x8x8 says"):
        open_family(copy, OpenOptions(size=SIZE, vq_path=other))


def test_a_name_on_the_hub_brings_the_image_tokenizer() -> None:
    for name in ("SimpleAR-0.5B-SFT", "SimpleAR-1.5B-RL"):
        vq = companions_of(HubSource(repository=f"Daniel0724/{name}", path=None, revision=None)).vq
        assert vq is not None
        assert (vq.repository, vq.path) == ("nvidia/Cosmos-1.0-Tokenizer-DV8x16x16", "decoder.jit")


def program(path: Path) -> dict[str, Tensor]:
    """The tensors of a `decoder.jit`, apart from the file."""
    tensors = read_program_file(path)
    assert tensors is not None
    return {name: tensor.clone() for name, tensor in tensors.items()}


def test_a_program_gives_the_tensors_that_pytorch_loads_from_it(tiny: Path) -> None:
    expected = torch.jit.load(str(tiny / DECODER)).state_dict()  # type: ignore[no-untyped-call]
    tensors = program(tiny / DECODER)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())


def test_the_tensors_of_the_image_tokenizer_may_come_without_the_program(copy: Path) -> None:
    own = program(copy / DECODER)
    (copy / DECODER).unlink()
    save_file(own, copy / COSMOS / "decoder.safetensors")
    assert open_family(copy, OPTIONS).image_tokenizer is not None
    (copy / COSMOS / "decoder.safetensors").unlink()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in own.items()}}, copy / COSMOS / "decoder.pt")
    opened = open_family(copy, OPTIONS)
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)


def test_a_program_is_no_weights_of_anything_else(tiny: Path) -> None:
    with pytest.raises(WorkerError, match=r"decoder\.jit is a TorchScript program, which holds code"):
        open_checkpoint(tiny / DECODER)


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/never",)


def respell(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Replaces the program by a file of its tensors, changed: writing a program takes seconds."""
    changed = change(program(path / DECODER))
    (path / DECODER).unlink()
    save_file(changed, path / COSMOS / "decoder.safetensors")


def replace_entry(path: Path, end: str, change: Callable[[bytes], bytes]) -> None:
    """Of the archive; the others stay as they are."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith(end) else content)


UP = "model.layers.1.mlp.up_proj.weight"
BIAS = "model.layers.0.self_attn.k_proj.bias"
MIDDLE = "decoder.mid.block_1.conv1.0.conv3d.weight"
FIRST = "post_quant_conv.conv3d.weight"
LAST = "decoder.conv_out.0.conv3d.weight"
LEVELS = "inv_quant.quantizer._levels"
SHARD = "model-00001-of-00002.safetensors"
SPOILT: dict[str, Spoilt] = {
    "a missing tensor": (
        lambda path: rewrite(path, lambda state: without(state, UP)),
        r"model\.safetensors lacks 1 tensors.*layers\.1\.mlp\.up_proj\.weight",
    ),
    "a missing bias": (
        lambda path: rewrite(path, lambda state: without(state, BIAS)),
        r"model\.safetensors lacks 1 tensors.*layers\.0\.self_attn\.k_proj\.bias",
    ),
    "a tensor too many": (
        lambda path: rewrite(path, lambda state: state | {"model.layers.0.self_attn.o_proj.bias": torch.zeros(3)}),
        r"model\.safetensors holds 1 tensors that this model has no place for: .*o_proj\.bias",
    ),
    "a tensor of another shape": (
        lambda path: rewrite(path, lambda state: state | {UP: state[UP][:50]}),
        r"model\.safetensors: the tensor model\.layers\.1\.mlp\.up_proj\.weight has the shape \[50, 32\]",
    ),
    "an embedding without codes": (
        lambda path: rewrite(
            path, lambda state: state | {"model.embed_tokens.weight": state["model.embed_tokens.weight"][:-CODE_COUNT]}
        ),
        r"the tensor model\.embed_tokens\.weight has the shape",
    ),
    "a head that is not tied": (
        lambda path: set_fields(path / "config.json", tie_word_embeddings=False),
        r"lacks lm_head\.weight, the output layer, and .*config\.json does not say that it is the embedding",
    ),
    "a missing shard": (
        lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
        r"model-00002-of-00002\.safetensors.*missing",
    ),
    "flipped bits": (lambda path: flip_bits(path / SHARD), r"model-00001-of-00002\.safetensors"),
    "a cut shard": (
        lambda path: cut(path / SHARD),
        r"model-00001-of-00002\.safetensors",
    ),
    "no weights": (
        lambda path: [file.unlink() for file in path.glob("model*")],
        r"holds no weights: expected model\.safetensors",
    ),
    "another activation": (
        lambda path: set_fields(path / "config.json", hidden_act="relu"),
        r"its activation is 'relu'; expected 'silu'",
    ),
    "scaled positions": (
        lambda path: set_fields(path / "config.json", rope_scaling={"type": "yarn", "factor": 4.0}),
        r"config\.json cannot be used: it scales its positions by 'yarn'",
    ),
    "a sliding window": (
        lambda path: set_fields(path / "config.json", use_sliding_window=True),
        r"config\.json cannot be used: its attention sees a sliding window",
    ),
    "heads that cannot be shared": (
        lambda path: set_fields(path / "config.json", num_key_value_heads=3),
        r"4 heads of 8, 3 of them with own K and V",
    ),
    "more layers than tensors": (
        lambda path: set_fields(path / "config.json", num_hidden_layers=900),
        r"config\.json asks for 900 layers, but .* holds \d+ tensors",
    ),
    "few positions": (
        lambda path: set_fields(path / "config.json", max_position_embeddings=512),
        r"it gives the model 512 positions; a prompt and its image take 548",
    ),
    "a config that is none": (lambda path: (path / "config.json").write_text("[]"), r"Expected `object`, got `array`"),
    "no room for images": (
        lambda path: set_fields(path / "config.json", vocab_size=280),
        r"config\.json gives the model a vocabulary of 280.*leave none for images.*Qwen2\.5 itself does not draw",
    ),
    "no tokenizer": (
        lambda path: (path / "tokenizer.json").unlink(),
        r"holds neither tokenizer\.json nor vocab\.json with merges\.txt.*not from Qwen2\.5.*--text-encoder DIR",
    ),
    "the tokenizer of Qwen2.5": (
        lambda path: edit(path / "tokenizer.json", "<|soi|>", "<|box|>"),
        r"tokenizer\.json lacks the tokens <\|soi\|>.*such as Qwen2\.5 itself",
    ),
    "a tokenizer with a gap": (
        lambda path: edit(path / "tokenizer.json", '"the": ', '"the": 9'),
        r"tokenizer\.json is damaged: expected its \d+ tokens to have the ids 0 to \d+",
    ),
    "merges of nothing": (
        lambda path: edit(path / "tokenizer.json", '"merges": [', '"merges": [["q", "zzz"], '),
        r"tokenizer\.json is no tokenizer that can be used",
    ),
    "another number of codes": (
        lambda path: respell(path, lambda state: state | {LEVELS: torch.tensor([5, 4, 4], dtype=torch.int32)}),
        r"decoder\.safetensors has 80 codes, but .*config\.json leaves 60 tokens for images",
    ),
    "codes of more dimensions": (
        lambda path: respell(path, lambda state: state | {LEVELS: torch.tensor([5, 4, 3, 2], dtype=torch.int32)}),
        r"decoder\.safetensors: its codes have the levels \[5, 4, 3, 2\].*takes 3 dimensions",
    ),
    "no levels": (
        lambda path: respell(path, lambda state: without(state, LEVELS)),
        r"decoder\.safetensors: its codes have the levels \[8, 8, 8, 5, 5, 5\].*takes 3 dimensions",
    ),
    "a decoder that lacks a tensor": (
        lambda path: respell(path, lambda state: without(state, MIDDLE)),
        r"decoder\.safetensors lacks 1 tensors.*decoder\.mid\.block_1\.conv1\.0\.conv3d\.weight",
    ),
    "a decoder with a tensor too many": (
        lambda path: respell(path, lambda state: state | {"decoder.mid.block_3.norm.weight": torch.ones(3)}),
        r"decoder\.safetensors holds 1 tensors that this model has no place for: decoder\.mid\.block_3",
    ),
    "a decoder with a tensor of another shape": (
        lambda path: respell(path, lambda state: state | {MIDDLE: state[MIDDLE][:7]}),
        r"decoder\.safetensors: the tensor decoder\.mid\.block_1\.conv1\.0\.conv3d\.weight has the shape \[7, 32, ",
    ),
    "a decoder of images": (
        lambda path: respell(
            path,
            lambda state: state | {FIRST: state[FIRST][:, :, 0]},
        ),
        r"expected the tensor post_quant_conv\.conv3d\.weight in 5 dimensions, as the tokenizers of videos",
    ),
    "a decoder of no patches": (
        lambda path: respell(path, lambda state: state | {LAST: torch.zeros(100, 16, 1, 3, 3)}),
        r"decoder\.safetensors is no decoder of Cosmos' video tokenizer.*received 3 resolutions and 100 channels",
    ),
    "a decoder of smaller tokens": (
        lambda path: respell(
            path, lambda state: {name: tensor for name, tensor in state.items() if ".up.2." not in name}
        ),
        r"makes 8 x 8 pixels of a token; expected 16 x 16",
    ),
    "an encoder": (
        lambda path: respell(path, lambda state: {"encoder.conv_in.0.conv3d.weight": torch.zeros(3, 3, 1, 3, 3)}),
        r"decoder\.safetensors lacks 1 tensors that this model needs: post_quant_conv\.conv3d\.weight",
    ),
    "a program that runs something": (
        lambda path: replace_entry(path / DECODER, "/data.pkl", lambda _: pickle.dumps(Attack(), protocol=2)),
        r"decoder\.jit was refused: besides weights it holds the Python object posix\.system.*Nothing in it was exec",
    ),
    "a program that is damaged": (
        lambda path: replace_entry(path / DECODER, "/data.pkl", lambda content: content[:-50]),
        r"decoder\.jit cannot be read as a weights file",
    ),
    "a program that lacks numbers": (
        lambda path: replace_entry(path / DECODER, "/data/3", lambda content: content[:8]),
        r"decoder\.jit cannot be read as a weights file.*has more numbers than the file holds",
    ),
    "a cut program": (
        lambda path: replace_bytes(path / DECODER, lambda content: content[: len(content) // 2]),
        r"decoder\.jit cannot be read as a weights file",
    ),
    "a page in place of the program": (
        lambda path: replace_bytes(path / DECODER, lambda _: b"<!doctype html><title>Log in</title>"),
        r"decoder\.jit is of another kind: it is a web page",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_checkpoint_is_refused_with_the_file_and_the_reason(copy: Path, name: str) -> None:
    check_refused(copy, SPOILT[name], OPTIONS)


PARTS: dict[str, Spoilt] = {
    "no merges": (lambda path: (path / "merges.txt").unlink(), r"merges\.txt cannot be read: No such file"),
    "a merge of three": (
        lambda path: (path / "merges.txt").write_text("#version: 0.2\nt h e\n"),
        r"merges\.txt cannot be used: expected two parts of a token on each line",
    ),
    "no control tokens": (
        lambda path: (path / "added_tokens.json").write_text('{"<|endoftext|>": 264}'),
        r"vocab\.json lacks the tokens <\|t2i\|>, <\|soi\|>",
    ),
    "words without ids": (
        lambda path: (path / "vocab.json").write_text('{"a": "b"}'),
        r"vocab\.json cannot be used: expected an object of tokens and their ids",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_spoilt_tokenizer_in_parts_is_refused_with_the_file_and_the_reason(
    parts: Path, tmp_path: Path, name: str
) -> None:
    check_refused(shutil.copytree(parts, tmp_path / "rl"), PARTS[name], OPTIONS)


def test_the_full_size_waits_for_nothing_in_the_memory_that_was_described(tmp_path: Path) -> None:
    """SimpleAR-1.5B on a GPU that is not there: see `full_size.py`."""
    content = json.loads(tiny_tokenizer().to_str())
    vocabulary = content["model"]["vocab"]
    first = max(token["id"] for token in content["added_tokens"]) + 1
    vocabulary |= {f"word{token}": token for token in range(first, 151672)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = SimpleARTokenizer(tmp_path)
    config = structs.replace(
        DEFAULTS,
        vocab_size=215672,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
    )
    with fake_gpu():
        with without_weights():
            shape = replace(config.decoder, has_qkv_bias=True)
            transformer = TokenTransformer(shape, config.vocab_size, 1e6, range(config.vocab_size))
            decoder = CosmosDecoder(CosmosConfig())
        checkpoint = empty_checkpoint(transformer, torch.bfloat16, KEYS)
        checkpoint = checkpoint.renamed(lambda name: None if name == "lm_head.weight" else name)
        checkpoint = with_tied_head(Path("config.json"), checkpoint, KEYS, is_tied=True)
        vq = CosmosTokenizer(empty_checkpoint(decoder, torch.float32, COSMOS_KEYS), CosmosConfig())
        files = Files("SimpleAR-1.5B-RL", checkpoint, Path("config.json"), config, tokenizer, vq, None)
        model = load(model_of(files), kv_bytes_per_slot=2 * 28 * 2 * 128 * 2)
        card = model.description.card
        assert (card.code_count, card.defaults.top_k, card.defaults.window) == (64000, 0, 16)
        assert model.description.slot_count == MAXIMAL_PROMPT_TOKENS + 4096
        check_an_image(model, 64, Wavefront(row_count=4, lag=16, column=62), (6.0, 1.0, 0, 1.0), pixels=1024)
