"""Emu3.5 on a tiny checkpoint in the official format, against the official code (fixtures/emu3_5_official.json).

The fixture says which code made it, and of what. Guidance, masks, top-k and the forced tokens are those of its own
logits processor, and so are tokens, probabilities and pixels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, DRAW, NONE, Driver, Feed, forward_request, start
from msgspec import structs
from safetensors.torch import load_file, save_file
from spoiling import edit, set_fields
from token_images import encode_request, generate, generate_by_window, masked_by_window
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.hub.files import needed_files
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.weights import NO_RULES, Checkpoint, open_checkpoint, stored_shapes, without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.execute.executor import TorchExecutor
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.emu3.vocabulary import END_ROW, PADDING, SPECIAL_NAMES, Vocabulary, read_tiktoken
from zipar_worker.families.emu3_5.facts import model_of
from zipar_worker.families.emu3_5.files import DEFAULTS, KEYS, Files, ImageTokenizer
from zipar_worker.families.emu3_5.prompt import branch_ids
from zipar_worker.families.transformer import TokenTransformer
from zipar_worker.families.unreadable import reads_everything
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.wire.protocol import HubSource

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "emu3_5_official.json").read_text())
PROMPT = "a red cube"
VQ, TEXT = "Emu3.5-VisionTokenizer", "tokenizer_emu3_ibq"
CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("emu3_5") / "Emu3.5-Image"
    write_tiny(["emu3-5", "--out", str(directory), "--seed", "1"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / tiny.name)


def start_for(path: Path, rows: int, columns: int) -> Driver:
    return start(path, image_count=1, size=(16 * columns, 16 * rows))


def read_vocabulary(tiny: Path) -> Vocabulary:
    return read_tiktoken(tiny / "tokenizer_emu3_ibq")


@pytest.mark.parametrize("image", OFFICIAL["images"], ids=lambda image: f"{image['rows']}x{image['columns']}")
@torch.inference_mode()
def test_greedy_tokens_with_guidance_equal_those_of_the_official_code(tiny: Path, image: dict[str, Any]) -> None:
    rows, columns = image["rows"], image["columns"]
    driver = start_for(tiny, rows, columns)
    codes = generate(driver, encode_request(rows, columns, image["prompt"]), image["scale"])
    # The official code ends a row before each but the first, and the image behind the last.
    assert codes == image["codes"]


@pytest.mark.parametrize("image", OFFICIAL["images"], ids=lambda image: f"scale {image['scale']}")
@torch.inference_mode()
def test_guidance_on_all_log_probabilities_and_then_top_k_of_the_codes_gives_the_official_distribution(
    tiny: Path, image: dict[str, Any]
) -> None:
    driver = start_for(tiny, image["rows"], image["columns"])
    length = driver.executor.encode_prompt(
        encode_request(image["rows"], image["columns"], image["prompt"])
    ).prompt_length
    queries = [(0, slot, DISTRIBUTION if slot == length - 1 else NONE) for slot in range(length)]
    result = driver.forward(Feed(1, queries, [(0, length)], [], image["scale"], 1.0, 24))
    probabilities = torch.zeros(64)
    probabilities[result.distribution_tokens.tolist()] = torch.tensor(result.distribution_probabilities.tolist())
    assert result.distribution_lengths.tolist() == [24]
    torch.testing.assert_close(probabilities, torch.tensor(image["first"]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [1, 2, 3, 8])
@torch.inference_mode()
def test_greedy_tokens_at_any_window_equal_those_of_one_masked_pass_of_transformers(tiny: Path, window: int) -> None:
    """By Qwen3, whose class is this architecture: the official one knows no mask of a user's own."""
    rows, columns, scale = 4, 8, 5.0
    fields = json.loads((tiny / "config.json").read_text())
    del fields["model_type"]
    model = Qwen3ForCausalLM(Qwen3Config(**fields | {"attn_implementation": "eager", "tie_word_embeddings": False}))
    model.load_state_dict(dict(open_checkpoint(tiny).tensors))
    vocabulary = read_vocabulary(tiny)
    first = vocabulary.first_code
    ids = [*range(first, first + vocabulary.code_count), vocabulary.ids[END_ROW]]

    def logits_of(tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model.eval()(input_ids=tokens, position_ids=positions, attention_mask=mask).logits
        return logits[0]

    prompts = branch_ids(vocabulary, PROMPT, rows, columns)
    expected = masked_by_window(logits_of, prompts, ids, rows, columns, window, scale)
    driver, request = start_for(tiny, rows, columns), encode_request(rows, columns, PROMPT)
    assert generate_by_window(driver, request, window, scale) == expected
    assert len({code for row in expected for code in row}) > 6
    if window == columns:
        assert generate(driver, request, scale) == expected


@torch.inference_mode()
def test_pixels_equal_those_of_the_official_code(tiny: Path) -> None:
    figures = OFFICIAL["pixels"]
    family = open_family(tiny, OpenOptions()).load(
        dtype=torch.bfloat16, device=torch.device("cpu"), report=lambda *_: None
    )
    pixels = family.decode_image(torch.tensor(figures["codes"]))
    assert pixels.shape == (48, 80, 3)
    torch.testing.assert_close(
        pixels.flatten()[:: figures["stride"]], torch.tensor(figures["values"]), atol=1e-4, rtol=0
    )


def test_prompts_have_the_ids_of_the_official_code(tiny: Path) -> None:
    vocabulary = read_vocabulary(tiny)
    size = [vocabulary.ids["<|image start|>"], *b"6*8", vocabulary.ids["<|image token|>"]]
    assert len(OFFICIAL["prompts"]) > 300
    for prompt, digest in OFFICIAL["prompts"]:
        ids = branch_ids(vocabulary, prompt, 6, 8)[0]
        assert ids[-5:] == size
        assert hashlib.sha256(json.dumps(ids[:-5]).encode()).hexdigest()[:16] == digest, prompt


@pytest.mark.parametrize("image", OFFICIAL["images"], ids=lambda image: f"{image['rows']}x{image['columns']}")
def test_both_branches_are_told_the_size_as_the_official_code_forces_it(tiny: Path, image: dict[str, Any]) -> None:
    branches = branch_ids(read_vocabulary(tiny), image["prompt"], image["rows"], image["columns"])
    assert branches == [image["ids"], image["unconditional_ids"]]


@pytest.mark.parametrize("name", ["<|extra_100|>", "<|image start|>", "<|visual token 000001|>", "<|endoftext|>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tiny: Path, name: str) -> None:
    vocabulary = read_vocabulary(tiny)
    plain, spelled = (branch_ids(vocabulary, text, 6, 8)[0] for text in ("", f"a {name} b"))
    controls = [token for token in plain if token >= vocabulary.ids[PADDING]]
    assert [token for token in spelled if token >= vocabulary.ids[PADDING]] == controls


def test_the_branches_are_padded_to_one_length_and_what_does_not_fit_is_refused(tiny: Path) -> None:
    driver = start_for(tiny, 6, 8)
    encoded = driver.executor.encode_prompt(encode_request(6, 8, PROMPT))
    conditional, unconditional = encoded.branches
    assert (conditional.padding, unconditional.padding) == (0, unconditional.position_offset)
    assert unconditional.padding > 0
    driver.executor.release([1])
    with pytest.raises(WorkerError, match=r"The prompt has \d+ tokens.*at most 1024 are allowed"):
        driver.executor.encode_prompt(encode_request(6, 8, "日" * 350))
    with pytest.raises(WorkerError, match="takes no negative prompt"):
        driver.executor.encode_prompt(encode_request(6, 8, PROMPT, "blurry"))
    with pytest.raises(WorkerError, match=r"makes grids of 6 x 8 tokens, received 6 x 9"):
        driver.executor.encode_prompt(encode_request(6, 9, PROMPT))


def test_the_sizes_are_the_official_ones_or_the_one_that_was_asked_for(tiny: Path) -> None:
    for size in (None, (1024, 1024)):
        grids = open_family(tiny, OpenOptions(size=size)).grids
        assert f"{grids[0].rows}*{grids[0].columns}" == OFFICIAL["default_grid"]
        assert {f"{grid.rows}*{grid.columns}" for grid in grids} == set(OFFICIAL["grids"])
        assert len(grids) == len(OFFICIAL["grids"]) == 8
        assert (grids[0].width, grids[0].height) == (73 * 16, 55 * 16)
    (own,) = open_family(tiny, OpenOptions(size=(512, 768))).grids
    assert (own.rows, own.columns, own.width, own.height) == (48, 32, 512, 768)
    for wrong in ((500, 512), (2064, 512), (0, 16)):
        with pytest.raises(WorkerError, match=rf"no images of {wrong[0]} x {wrong[1]} pixels: expected .* multiples"):
            open_family(tiny, OpenOptions(size=wrong))


@pytest.mark.parametrize(
    ("directory", "name", "scale"),
    [
        ("Emu3.5-Image", "Emu3.5-Image", 5.0),
        ("Emu3.5", "Emu3.5", 2.0),
        ("Emu3.5/weights/mine", "mine", 5.0),
        ("models--BAAI--Emu3.5/snapshots/0123", "Emu3.5", 2.0),
    ],
)
def test_the_card_tells_the_official_defaults_of_the_model_that_the_name_says(
    tiny: Path, tmp_path: Path, directory: str, name: str, scale: float
) -> None:
    card = open_family(shutil.copytree(tiny, tmp_path / directory), OpenOptions()).describe(torch.float32).card
    assert (card.family, card.name, card.row_end, card.code_count) == ("emu3-5", name, "token", 64)
    assert card.defaults.guidance_scale == scale
    assert (card.defaults.temperature, card.defaults.top_p) == (
        OFFICIAL["sampling"]["temperature"],
        OFFICIAL["sampling"]["top_p"],
    )
    assert card.defaults.top_k == 0  # 5120 of 64 codes
    assert card.kv_bytes_per_slot == 2 * 2 * 2 * 24 * 4


@pytest.mark.parametrize("place", ["within", "beside", "given", "in the official code", "in the directory itself"])
def test_both_tokenizers_are_found_within_beside_or_where_they_are_said_to_be(
    copy: Path, tmp_path: Path, place: str
) -> None:
    vq, text, options = copy / VQ, copy / TEXT, OpenOptions()
    if place == "beside":
        shutil.move(vq, tmp_path / "vision_tokenizer")
        shutil.move(text, tmp_path)
    elif place == "given":
        vq.rename(tmp_path / "vq")
        text.rename(tmp_path / "text")
        options = OpenOptions(vq_path=tmp_path / "vq" / "model.ckpt", text_encoder_path=tmp_path / "text")
    elif place == "in the official code":
        (tmp_path / "src").mkdir()
        shutil.move(text, tmp_path / "src")
        shutil.move(copy, tmp_path / "weights" / "Emu3.5-Image")
        copy = tmp_path / "weights" / "Emu3.5-Image"
    elif place == "in the directory itself":
        for file in (*text.iterdir(), *vq.iterdir()):
            shutil.move(file, copy)
        options = OpenOptions(vq_path=copy / "model.ckpt")
    assert open_family(copy, options).image_tokenizer is not None


def test_without_an_image_tokenizer_there_are_tokens_but_no_pixels(copy: Path) -> None:
    shutil.rmtree(copy / VQ)
    description = open_family(copy, OpenOptions()).describe(torch.float32)
    assert description.card.image_decoder is None
    assert "image tokenizer" not in description.weight_bytes


def test_an_image_tokenizer_as_safetensors_is_read_too(copy: Path) -> None:
    tensors = torch.load(copy / VQ / "model.ckpt", weights_only=True)["state_dict"]
    save_file(tensors, copy / VQ / "model.safetensors")
    (copy / VQ / "model.ckpt").rename(copy / VQ / "config.json")  # whatever transformers would read there
    assert start(copy, size=(128, 96)).loaded.card.image_decoder is not None


def test_emu3_and_its_successor_are_told_apart_although_both_call_themselves_emu3(tiny: Path, tmp_path: Path) -> None:
    write_tiny(["emu3", "--out", str(tmp_path / "emu3"), "--no-vq"])
    assert open_family(tmp_path / "emu3", OpenOptions()).family == "emu3"
    assert open_family(tiny, OpenOptions()).family == "emu3-5"
    one_file = shutil.copytree(tiny, tmp_path / "one file")
    for file in one_file.glob("model*"):
        file.unlink()
    save_file(dict(open_checkpoint(tiny).tensors), one_file / "model.safetensors")
    assert open_family(one_file, OpenOptions()).family == "emu3-5"
    # By its size alone, whatever its weights are called.
    edit_config(tmp_path / "emu3", vocab_size=282926)
    with pytest.raises(WorkerError, match=r"asks for a width of 282926, .* belong together"):
        open_family(tmp_path / "emu3", OpenOptions())


def test_the_hub_gives_the_image_tokenizer_too() -> None:
    tokenizer = HubSource(repository="BAAI/Emu3.5-VisionTokenizer", path=None, revision=None)
    assert needed_files(tokenizer, [".gitattributes", "model.ckpt", "config.yaml"]) == ["config.yaml", "model.ckpt"]
    for repository in ("BAAI/Emu3.5-Image", "BAAI/Emu3.5"):
        found = companions_of(HubSource(repository=repository, path=None, revision=None))
        assert found.vq == tokenizer


def edit_config(path: Path, **changes: object) -> None:
    set_fields(path / "config.json", **changes)


def edit_tensors(path: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """In the shard that holds the tensor `name`."""
    index_path = path / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    shard = index["weight_map"][name]
    tensors = load_file(path / shard)
    change(tensors)
    save_file(tensors, path / shard)
    kept = {key: place for key, place in index["weight_map"].items() if place != shard}
    index_path.write_text(json.dumps(index | {"weight_map": kept | dict.fromkeys(tensors, shard)}))


def edit_vq(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    content = torch.load(path / VQ / "model.ckpt", weights_only=True)
    change(content["state_dict"])
    torch.save(content, path / VQ / "model.ckpt")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


class Stranger:
    """Pickled by name: no tensor."""


NORM, K_NORM = "model.norm.weight", "model.layers.1.self_attn.k_norm.weight"
SOURCE = r"github\.com/baaivision/Emu3\.5/tree/main/src/tokenizer_emu3_ibq"

BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tensor is missing": (
        lambda path: edit_tensors(path, NORM, lambda tensors: tensors.pop(NORM)),
        "lacks 1 tensors that this model needs: model.norm.weight",
    ),
    "a head norm is missing": (
        lambda path: edit_tensors(path, K_NORM, lambda tensors: tensors.pop(K_NORM)),
        "lacks 1 tensors that this model needs: model.layers.1.self_attn.k_norm.weight",
    ),
    "a tensor is left over": (
        lambda path: edit_tensors(path, NORM, lambda tensors: tensors.update({"model.q.weight": torch.ones(4)})),
        "no place for: model.q.weight",
    ),
    "a tensor has another shape": (
        lambda path: edit_tensors(path, NORM, lambda tensors: tensors.update({NORM: torch.ones(4)})),
        r"model.norm.weight has the shape \[4\]; this model needs \[64\]",
    ),
    "a head norm has another shape": (
        lambda path: edit_tensors(path, K_NORM, lambda tensors: tensors.update({K_NORM: torch.ones(23)})),
        r"k_norm.weight has the shape \[2, 23\]; this model needs \[2, 24\]",
    ),
    "the configuration has other heads": (
        lambda path: edit_config(path, head_dim=26),
        r"has the shape \[96, 64\]; this model needs \[104, 64\]",
    ),
    "the configuration lacks the width of a head": (
        lambda path: edit(path / "config.json", '"head_dim": 24', '"head_dimension": 24'),
        r"has the shape \[96, 64\]; this model needs \[512, 64\]",
    ),
    "the output layer is for another vocabulary": (
        lambda path: edit_config(path, vocab_size=600),
        r"lm_head.weight has the shape \[\d+, 64\]; .*config.json asks for \[600, 64\]",
    ),
    "a shard is missing": (
        lambda path: (path / "model-00001-of-00002.safetensors").unlink(),
        "The shard model-00001-of-00002.safetensors.* is missing. Download it",
    ),
    "a shard is cut off": (
        lambda path: cut(path / "model-00002-of-00002.safetensors"),
        "model-00002-of-00002.safetensors cannot be read as a weights file .* Download it again",
    ),
    "the index of the shards is damaged": (
        lambda path: cut(path / "model.safetensors.index.json"),
        "model.safetensors.index.json is no index of shards",
    ),
    "the index says that a shard holds what it does not": (
        lambda path: edit(path / "model.safetensors.index.json", NORM, "model.norm2.weight"),
        "model.safetensors.index.json says that .* holds model.norm2.weight, but it does not",
    ),
    "the configuration is damaged": (
        lambda path: cut(path / "config.json"),
        "config.json cannot be used: .* Download it again",
    ),
    "the configuration has a wrong type": (
        lambda path: edit_config(path, hidden_size="64"),
        "config.json cannot be used: .*hidden_size.* Download it again",
    ),
    "the configuration has another activation": (
        lambda path: edit_config(path, hidden_act="gelu"),
        "config.json cannot be used: its activation is 'gelu'; expected 'silu'",
    ),
    "the configuration scales positions": (
        lambda path: edit_config(path, rope_scaling={"type": "dynamic", "factor": 2.0}),
        "config.json cannot be used: it scales its positions by 'dynamic'",
    ),
    "the configuration knows too few positions": (
        lambda path: edit_config(path, max_position_embeddings=54),
        "the model knows 54 positions, too few for images of 54 tokens.*--size",
    ),
    "the ids are those of another vocabulary": (
        lambda path: edit_config(path, eol_token_id=7),
        r"config.json gives the token <\|extra_200\|> the id 7, .*emu3_vision_tokens.txt the id \d+",
    ),
    "the model is of another family": (
        lambda path: edit_config(path, model_type="llama"),
        "its config.json names the model type 'llama'",
    ),
    "the text tokenizer is missing": (
        lambda path: shutil.rmtree(path / TEXT),
        f"lacks emu3.tiktoken and emu3_vision_tokens.txt.*Download .* from .*{SOURCE} .*--text-encoder DIR",
    ),
    "the vision tokens are missing": (
        lambda path: (path / TEXT / "emu3_vision_tokens.txt").unlink(),
        f"lacks emu3_vision_tokens.txt: .*{SOURCE}",
    ),
    "the text vocabulary is no vocabulary": (
        lambda path: (path / TEXT / "emu3.tiktoken").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "emu3.tiktoken cannot be read as a tiktoken vocabulary .* Download it again",
    ),
    "the vision tokens are cut off": (
        lambda path: (path / TEXT / "emu3_vision_tokens.txt").write_text("<|image token|>\n"),
        "emu3_vision_tokens.txt does not name the special tokens .*image start",
    ),
    "a vision token is missing": (
        lambda path: edit(path / TEXT / "emu3_vision_tokens.txt", "<|visual token 000031|>\n", ""),
        "names 63 visual tokens, of which only the first 31 have consecutive ids",
    ),
    "the image tokenizer has another codebook": (
        lambda path: edit(path / VQ / "config.yaml", "n_embed: 64", "n_embed: 63"),
        "has 63 codes, but .* has 64 visual tokens.*BAAI/Emu3.5-VisionTokenizer",
    ),
    "the image tokenizer's codes are of another width": (
        lambda path: edit(path / VQ / "config.yaml", "embed_dim: 16", "embed_dim: 8"),
        r"model.ckpt: the tensor quantize.embedding.weight has the shape \[64, 16\]; this model needs \[64, 8\]",
    ),
    "the image tokenizer's configuration names a program": (
        lambda path: edit(path / VQ / "config.yaml", "embed_dim: 16", "embed_dim: !!python/name:os.system"),
        "config.yaml is no configuration of Emu3.5's image tokenizer: .*Download it again from BAAI",
    ),
    "the image tokenizer's configuration is nested": (
        lambda path: (path / VQ / "config.yaml").write_text("model: {params: {}}"),
        "config.yaml is no configuration of Emu3.5's image tokenizer: .*missing required field",
    ),
    "the image tokenizer is built otherwise": (
        lambda path: edit(path / VQ / "config.yaml", "dropout: 0.0", "dropout: 0.0\n  resamp_with_conv: false"),
        "config.yaml describes another decoder than .*received .*resamp_with_conv False",
    ),
    "the image tokenizer has other pixels": (
        lambda path: edit(path / VQ / "config.yaml", "  - 2\n", ""),
        "model.ckpt makes 8 x 8 pixels of a token; expected 16 x 16, as in BAAI/Emu3.5-VisionTokenizer",
    ),
    "a tensor of the image tokenizer is missing": (
        lambda path: edit_vq(path, lambda tensors: tensors.pop("decoder.mid.attn_1.q.weight")),
        "lacks 1 tensors that this model needs: decoder.mid.attn_1.q.weight",
    ),
    "a tensor of the image tokenizer is left over": (
        lambda path: edit_vq(path, lambda tensors: tensors.update({"decoder.mid.extra": torch.ones(2)})),
        "no place for: decoder.mid.extra",
    ),
    "the image tokenizer's weights are missing": (
        lambda path: (path / VQ / "model.ckpt").unlink(),
        "The weights file .*Emu3.5-VisionTokenizer/model.ckpt does not exist",
    ),
    "the image tokenizer's weights are cut off": (
        lambda path: cut(path / VQ / "model.ckpt"),
        "model.ckpt cannot be read as a weights file .* Download it again",
    ),
    "the image tokenizer's weights hold objects": (
        lambda path: torch.save({"state_dict": {}, "callbacks": Stranger()}, path / VQ / "model.ckpt"),
        "model.ckpt was refused: besides weights it holds the Python objects .*Stranger",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_checkpoint_says_what_is_wrong_with_which_file(copy: Path, name: str) -> None:
    damage, message = BREAKAGES[name]
    damage(copy)
    with pytest.raises(WorkerError, match=f"(?s){message}") as error:
        start(copy, size=(128, 96))
    assert error.value.code == "checkpoint"
    assert str(copy) in error.value.message


def test_the_vocabulary_of_emu3_is_refused_though_its_tokens_have_the_same_names(tmp_path: Path) -> None:
    write_tiny(["emu3-5", "--out", str(tmp_path), "--codes", "1200", "--no-vq"])
    vision = tmp_path / TEXT / "emu3_vision_tokens.txt"
    vision.write_text("".join(vision.read_text().splitlines(keepends=True)[: 3 + 100]))
    with pytest.raises(WorkerError, match=f"names .*with 100 visual tokens. It is .* such as Emu3: .*{SOURCE}"):
        open_family(tmp_path, OpenOptions())


def test_an_image_tokenizer_is_no_model_and_a_model_no_image_tokenizer(tiny: Path) -> None:
    with pytest.raises(WorkerError, match=r"is the image tokenizer of Emu3.5.*Expected .*--vq"):
        open_family(tiny / VQ, OpenOptions())
    with pytest.raises(WorkerError, match=r"holds no config.yaml. Expected the image tokenizer of Emu3.5, BAAI"):
        open_family(tiny, OpenOptions(vq_path=tiny / TEXT))


def test_a_tokenizer_beside_the_checkpoint_may_not_lead_elsewhere(copy: Path, tmp_path: Path) -> None:
    beside = Path(shutil.move(copy / TEXT, tmp_path))
    (beside / "emu3.tiktoken").rename(tmp_path / "elsewhere")
    (beside / "emu3.tiktoken").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkerError, match=r"emu3.tiktoken is a link to .*elsewhere, outside"):
        open_family(copy, OpenOptions())


# The sizes of BAAI/Emu3.5-Image as the technical report (arXiv 2510.26583) tells them.
FULL = structs.replace(
    DEFAULTS,
    vocab_size=282926,
    hidden_size=5120,
    intermediate_size=25600,
    num_hidden_layers=64,
    num_attention_heads=64,
    max_position_embeddings=32768,
)
FULL_CODES = 131072


@pytest.fixture
def full_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Of the full size, whose tensors have no content."""
    monkeypatch.setattr("zipar_worker.execute.devices.free_memory", lambda device: None)
    # The read-back is the one place that may wait, and there is nothing to read.
    monkeypatch.setattr("zipar_worker.execute.executor.read_back", lambda step, outcome: outcome)
    vq_config = ChameleonVQConfig(codebook_size=FULL_CODES, residual_blocks=4)
    ids = dict(zip(SPECIAL_NAMES, (151643, 151849, 151852, 151851, 151846), strict=True)) | {"<|extra_100|>": 151746}
    vocabulary = Vocabulary(Path(), lambda text: list(text.encode()), ids, 151854, FULL_CODES, reads_everything)
    with FakeTensorMode():
        with without_weights():
            decoder = ChameleonVQDecoder(vq_config)
            head_norm = replace(FULL.decoder, head_norm="rms")
            transformer = TokenTransformer(head_norm, FULL.vocab_size, FULL.rope_theta, range(FULL.vocab_size), 0)
        weights = empty_checkpoint(transformer, torch.bfloat16, KEYS)
        image_tokenizer = ImageTokenizer(empty_checkpoint(decoder, torch.float32), vq_config)
        yield Files("Emu3.5-Image", FULL, weights, vocabulary, image_tokenizer, None)


def empty_checkpoint(module: torch.nn.Module, dtype: torch.dtype, keys: KeyMap = NO_RULES) -> Checkpoint:
    """Norms of queries and keys are stored once for all heads."""
    shapes = {key: shape for stored in stored_shapes(module, keys).values() for key, shape in stored.items()}
    tensors = {
        key: torch.empty(shape[1:] if key.endswith(("q_norm.weight", "k_norm.weight")) else shape, dtype=dtype)
        for key, shape in shapes.items()
    }
    return Checkpoint(Path("model"), tensors)


def test_the_full_size_prefills_steps_and_decodes_on_cuda_within_the_described_memory(full_files: Files) -> None:
    opened = model_of(full_files)
    description = opened.describe(torch.bfloat16)
    card = description.card
    assert (card.defaults.guidance_scale, card.defaults.top_k, card.defaults.window) == (5.0, 5120, 18)
    # 34.1 billion, less the rows of the output layer that are no codes.
    assert card.parameter_count == pytest.approx(34.1e9 - 151854 * 5120, rel=0.01)
    assert card.kv_bytes_per_slot == 256 * 1024
    assert description.slot_count == 1024 + 64 * 65
    family = opened.load(dtype=torch.bfloat16, device=CUDA, report=lambda *_: None)
    executor = TorchExecutor()
    executor.adopt(family, description, torch.bfloat16, CUDA, cache_row_count=2)
    for part, module in {"transformer": family.transformer, "image tokenizer": family.image_decoder}.items():
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.device for tensor in tensors} == {CUDA}
        assert sum(tensor.nbytes for tensor in tensors) == pytest.approx(description.weight_bytes[part], rel=0.02)
    stored = sum(tensor.nbytes for tensor in [*executor._cache.keys, *executor._cache.values])
    assert stored == pytest.approx(2 * description.slot_count * card.kv_bytes_per_slot, rel=0.02)

    length = executor.encode_prompt(encode_request(64, 64, PROMPT)).prompt_length
    prefill = [(0, slot, DRAW if slot == length - 1 else NONE) for slot in range(length)]
    first = Feed(1, prefill, [(0, length)], [0.5], 5.0, 1.0, 5120)
    assert executor.forward(forward_request(executor, [first])).shape == (2 * 3,)
    # Four rows are under way, each sixteen tokens behind the one above; the last of the queries ends a row.
    slots = [length + row * 65 + 64 - 16 * row for row in range(4)]
    runs = [(0, slots[0] + 1), *((length + row * 65, slot + 1) for row, slot in enumerate(slots) if row)]
    queries = [(FULL_CODES if slot == slots[0] else 5, slot, DRAW) for slot in slots]
    outcome = executor.forward(forward_request(executor, [Feed(1, queries, runs, [0.5] * 4, 5.0, 1.0, 5120)]))
    assert (outcome.shape, outcome.device) == ((2 * 3 * 4,), CUDA)
    pixels = family.decode_image(torch.zeros((64, 64), dtype=torch.int64, device=CUDA))
    assert (pixels.shape, pixels.device) == ((1024, 1024, 3), CUDA)
