"""The Lumina-mGPT family on tiny checkpoints in the official format: tokens, pixels, prompts, and every way to fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DRAW, NONE, Driver, Feed, start
from spoiling import edit, rewrite, without
from token_images import encode_request
from torch import Tensor
from transformers import ChameleonConfig, ChameleonModel

from zipar_testing.tiny.__main__ import main as write_tiny
from zipar_worker.checkpoints.weights import open_checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families import open_family
from zipar_worker.families.description import OpenOptions
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS, PromptTokenizer, known_sizes
from zipar_worker.families.vq.chameleon import ChameleonVQConfig, ChameleonVQDecoder
from zipar_worker.families.vq.chameleon_files import code_ids
from zipar_worker.wire.protocol import TextCard

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "lumina_mgpt_official.json").read_text())
CODE_COUNT = 64
GUIDANCE_SCALE = 4.0
FIRST_CODE = 4
ROW_END = FIRST_CODE + CODE_COUNT + 2 + 2
"""In the vocabulary of a tiny checkpoint: after the codes, the ends of an image and two reserved tokens."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lumina") / "Lumina-mGPT-7B-128"
    write_tiny(["lumina-mgpt", "--out", str(directory), "--seed", "5"])
    return directory


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / tiny.name)


def encode(
    driver: Driver, prompt: str, rows: int, columns: int, *, negative_prompt: str | None = None, branches: int = 2
) -> Any:
    request = encode_request(rows, columns, prompt, negative_prompt, tuple(range(branches)))
    return driver.executor.encode_prompt(request)


def generate(driver: Driver, prompt: str, rows: int, columns: int) -> list[int]:
    """Greedy codes in next-token order; a row end is fed together with the last token of its row."""
    length = encode(driver, prompt, rows, columns).prompt_length
    queries = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    tokens: list[int] = []
    while True:
        end = queries[-1][1] + 1
        result = driver.forward(Feed(1, queries, [(0, end)], [0.5], GUIDANCE_SCALE))
        tokens.append(result.drawn_tokens[0])
        if len(tokens) == rows * columns:
            return tokens
        if len(tokens) % columns == 0:
            queries = [(tokens[-1], end, NONE), (CODE_COUNT, end + 1, DRAW)]
        else:
            queries = [(tokens[-1], end, DRAW)]


class Official:
    """transformers' Chameleon on the same files, with the official guidance and forced tokens, without any cache."""

    def __init__(self, path: Path) -> None:
        fields = json.loads((path / "config.json").read_bytes())
        self.config = ChameleonConfig(**{key: fields[key] for key in fields if key != "model_type"})
        tensors = dict(open_checkpoint(path).tensors)
        self.head = tensors.pop("lm_head.weight")
        self.model = ChameleonModel(self.config).eval()
        state = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        for name, tensor in state.items():
            if "q_norm" in name or "k_norm" in name:
                state[name] = tensor.expand(self.config.num_attention_heads, -1)
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert unexpected == []
        assert all(name.startswith("vqmodel.") for name in missing)

    def logits(self, ids: list[int]) -> Tensor:
        """Of the last token, for the whole vocabulary."""
        hidden = self.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
        return hidden[0, -1] @ self.head.T

    def generate(self, prompt: list[int], rows: int, columns: int) -> list[int]:
        """prompt: of the conditional branch; the unconditional one has its last three tokens."""
        ids = list(prompt)
        for _ in range(rows):
            for _ in range(columns):
                unconditional = self.logits(ids[len(prompt) - 3 :])
                guided = GUIDANCE_SCALE * (self.logits(ids) - unconditional) + unconditional
                ids.append(FIRST_CODE + int(guided[FIRST_CODE : FIRST_CODE + CODE_COUNT].argmax()))
            ids.append(ROW_END)
        return [token - FIRST_CODE for token in ids[len(prompt) :] if token != ROW_END]


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (4, 16)])
@torch.inference_mode()
def test_greedy_tokens_with_guidance_equal_those_of_the_official_procedure(tiny: Path, rows: int, columns: int) -> None:
    tokens = generate(start(tiny, image_count=1), "the thing: an otter", rows, columns)
    prompt = PromptTokenizer(tiny / "tokenizer.json").conditional("the thing: an otter", columns * 16, rows * 16)
    assert tokens == Official(tiny).generate(prompt, rows, columns)
    assert len(set(tokens)) > 8


@torch.inference_mode()
def test_the_layers_of_the_34b_models_run_too(tmp_path: Path) -> None:
    write_tiny(["lumina-mgpt", "--out", str(tmp_path), "--seed", "6", "--size", "64", "--swin-norm", "--no-vq"])
    driver = start(tmp_path, image_count=1, size=(64, 64))
    assert driver.loaded.card.image_decoder is None
    prompt = PromptTokenizer(tmp_path / "tokenizer.json").conditional("a thing", 64, 64)
    assert generate(driver, "a thing", 4, 4) == Official(tmp_path).generate(prompt, 4, 4)


@torch.inference_mode()
def test_norms_of_queries_that_differ_between_groups_of_heads_are_repeated_for_each(copy: Path) -> None:
    rewrite(
        copy, lambda state: state | {name: torch.cat((state[name], -state[name])) for name in state if "q_norm" in name}
    )
    driver = start(copy, image_count=1)
    norm = driver.executor._family.transformer.decoder.layers[0].self_attn.qk_norm.weight  # type: ignore[union-attr]
    stored = open_checkpoint(copy).tensors["model.layers.0.self_attn.q_norm.weight"]
    assert torch.equal(norm[:4], stored[[0, 0, 1, 1]])


@torch.inference_mode()
def test_an_image_is_decoded_with_the_weights_of_vqgan_ckpt(tiny: Path) -> None:
    opened = open_family(tiny, OpenOptions())
    family = opened.load(dtype=torch.bfloat16, device=torch.device("cpu"), report=lambda *_: None)
    codes = torch.randint(CODE_COUNT, (3, 5), generator=torch.Generator().manual_seed(1))
    state = torch.load(tiny / "ckpts/chameleon/tokenizer/vqgan.ckpt", weights_only=True)["state_dict"]
    decoder = ChameleonVQDecoder(ChameleonVQConfig(CODE_COUNT, 16, 32, (1, 1, 1, 1, 1), 1, 32))
    decoder.load_state_dict({name: state[name] for name in decoder.state_dict()})
    pixels = family.decode_image(codes)
    assert pixels.shape == (48, 80, 3)
    torch.testing.assert_close(pixels, decoder.decode(codes[None])[0].permute(1, 2, 0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", [128, 512, 768, 1024])
def test_the_sizes_of_a_checkpoint_are_the_official_ones_the_square_first(target: int) -> None:
    official = [tuple(size) for size in OFFICIAL["sizes"][str(target)]]
    official.remove((target, target))
    assert known_sizes(target) == [(target, target), *official]


@pytest.mark.parametrize("case", OFFICIAL["prompts"], ids=lambda case: f"{case['width']}x{case['height']}")
def test_a_prompt_has_the_official_tokens_and_then_the_forced_size(tiny: Path, case: dict[str, Any]) -> None:
    tokenizer = PromptTokenizer(tiny / "tokenizer.json")
    names = json.loads((tiny / "tokenizer.json").read_bytes())["model"]["vocab"]
    units = (case["height"] // 32, case["width"] // 32)
    size = [names["<racm3:break>"], *(names[f"<reserved{8800 + n:05d}>"] for n in units)]
    tokens = tokenizer.conditional(case["prompt"], case["width"], case["height"])
    assert tokens == case["tokens"] + size
    assert tokenizer.unconditional(case["width"], case["height"]) == size


def test_codes_are_numbered_by_the_names_of_their_tokens() -> None:
    names = {"IMGIMGBZ": 7, "text": 1, **{f"IMGIMG{letter}Z": 20 + k for k, letter in enumerate("ACDEFGHIJ")}}
    assert code_ids(Path("tokenizer.json"), names | {"IMGIMGBAZ": 3}) == (20, 7, 21, 22, 23, 24, 25, 26, 27, 28, 3)


def test_the_branches_are_padded_to_one_length_and_count_positions_from_their_own_start(tiny: Path) -> None:
    driver = start(tiny, image_count=1)
    encoded = encode(driver, "an otter", 8, 8)
    assert [(branch.name, branch.padding, branch.position_offset) for branch in encoded.branches] == [
        ("conditional", 0, 0),
        ("unconditional", encoded.prompt_length - 3, encoded.prompt_length - 3),
    ]
    driver.executor.release([1])
    alone = encode(driver, "an otter", 8, 8, branches=1)
    assert [branch.name for branch in alone.branches] == ["conditional"]
    assert alone.prompt_length == encoded.prompt_length


@pytest.mark.parametrize("name", ["<reserved08706>", "</s>", "<racm3:break>", "IMGIMGBCZ", "<|image|>"])
def test_a_prompt_that_spells_a_control_token_stays_text(tiny: Path, name: str) -> None:
    tokenizer = PromptTokenizer(tiny / "tokenizer.json")
    vocabulary = json.loads((tiny / "tokenizer.json").read_bytes())["model"]["vocab"]
    words = tokenizer.conditional(f"a {name} b", 128, 128)[1:-4]
    first_text = min(token for text, token in vocabulary.items() if len(text) == 1)
    assert all(token >= first_text for token in words)


def test_a_tokenizer_that_takes_a_word_for_a_control_token_is_not_trusted(copy: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_bytes())
    content["model"]["ignore_merges"] = True
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WorkerError, match="spells the control token 'IMGIMGBZ'") as caught:
        PromptTokenizer(copy / "tokenizer.json").conditional("IMGIMGBZ", 128, 128)
    assert caught.value.code == "prompt"


def test_an_added_token_beyond_the_vocabulary_of_the_model_does_no_harm(copy: Path) -> None:
    content = json.loads((copy / "tokenizer.json").read_bytes())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 70000, "content": "<|image|>"})
    (copy / "tokenizer.json").write_text(json.dumps(content))
    assert encode(start(copy, image_count=1), "an <|image|>", 8, 8).prompt_length > 3


def test_prompts_that_the_model_cannot_take_are_refused(tiny: Path) -> None:
    driver = start(tiny, image_count=1)
    with pytest.raises(WorkerError, match=rf"has \d+ tokens.*at most {MAXIMAL_PROMPT_TOKENS} are allowed") as caught:
        encode(driver, "q" * MAXIMAL_PROMPT_TOKENS, 8, 8)
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match="takes no negative prompt") as caught:
        encode(driver, "an otter", 8, 8, negative_prompt="blurry")
    assert caught.value.code == "prompt"
    with pytest.raises(WorkerError, match=r"makes grids of 8 x 8, 4 x 16, .* tokens, received 8 x 9") as caught:
        encode(driver, "an otter", 8, 9)
    assert caught.value.code == "bad-request"


def test_the_card_tells_the_official_defaults(tiny: Path) -> None:
    description = open_family(tiny, OpenOptions(size=(512, 512))).describe(torch.bfloat16)
    card = description.card
    assert (card.family, card.name, card.row_end, card.code_count) == ("lumina-mgpt", tiny.name, "token", CODE_COUNT)
    assert card.conditioning == TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS)
    assert (card.defaults.guidance_scale, card.defaults.temperature, card.defaults.window) == (4.0, 1.0, 2)
    assert [(grid.width, grid.height) for grid in card.grids] == known_sizes(128)
    assert all((grid.columns * 16, grid.rows * 16) == (grid.width, grid.height) for grid in card.grids)
    # 16 rows of 4 tokens and their ends are the most.
    assert description.slot_count == MAXIMAL_PROMPT_TOKENS + 80
    assert card.kv_bytes_per_slot == 2 * 2 * 64 * 2


@pytest.mark.parametrize(
    ("directory", "size", "target"),
    [
        ("models--Alpha-VLLM--Lumina-mGPT-7B-768-Omni/snapshots/0123", None, 768),
        ("Lumina-mGPT-7B-1024", (512, 512), 1024),
        ("mine", (512, 512), 512),
        ("mine", (1152, 480), 768),
    ],
)
def test_the_training_size_is_read_from_the_official_name_or_the_size_that_was_asked_for(
    tmp_path: Path, directory: str, size: tuple[int, int] | None, target: int
) -> None:
    write_tiny(["lumina-mgpt", "--out", str(tmp_path / "written"), "--size", "1024", "--no-vq"])
    (tmp_path / directory).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "written").rename(tmp_path / directory)
    card = open_family(tmp_path / directory, OpenOptions(size=size)).describe(torch.float32).card
    assert (card.grids[0].width, card.grids[0].height) == (target, target)


def test_the_files_of_meta_may_lie_elsewhere_and_lend_their_tokenizer(copy: Path, tmp_path: Path) -> None:
    files = shutil.move(copy / "ckpts/chameleon/tokenizer", tmp_path / "meta")
    (copy / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    for options in (
        OpenOptions(vq_path=Path(files)),
        OpenOptions(vq_path=Path(files) / "vqgan.ckpt"),
        OpenOptions(vq_path=Path(files), text_encoder_path=tmp_path),
    ):
        assert open_family(copy, options).describe(torch.float32).card.image_decoder is not None


META = Path("ckpts/chameleon/tokenizer")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: rewrite(path, lambda state: without(state, "model.layers.1.mlp.up_proj.weight")),
            r"model\.safetensors lacks 1 tensors.*layers\.1\.mlp\.up_proj\.weight",
        ),
        (
            lambda path: rewrite(path, lambda state: state | {"model.layers.0.mlp.up_proj.bias": torch.zeros(3)}),
            r"model\.safetensors holds 1 tensors that this model has no place for: model\.layers\.0\.mlp\.up",
        ),
        (
            lambda path: rewrite(path, lambda state: state | {"lm_head.weight": state["lm_head.weight"][:50]}),
            r"model\.safetensors: the tensor lm_head\.weight has the shape \[50, 64\]",
        ),
        (
            lambda path: rewrite(
                path, lambda state: state | {"model.layers.0.self_attn.q_norm.weight": torch.ones(3, 16)}
            ),
            r"q_norm\.weight has the shape \[3, 16\]; this model needs \[4, 16\]",
        ),
        (
            lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
            r"model-00002-of-00002\.safetensors.*missing",
        ),
        (
            lambda path: edit(path / "config.json", '"silu"', '"gelu"'),
            r"config\.json cannot be used: its activation is 'gelu'; expected 'silu'",
        ),
        (
            lambda path: edit(path / "config.json", '"rope_scaling": null', '"rope_scaling": {"type": "linear"}'),
            r"config\.json cannot be used: it scales its positions by 'linear'",
        ),
        (
            lambda path: edit(path / "config.json", '"num_attention_heads": 4', '"num_attention_heads": 7'),
            "a width of 64 cannot be shared by 7 heads",
        ),
        (
            lambda path: edit(path / "config.json", '"hidden_size": 64', '"hidden_size": -1'),
            r"config\.json cannot be used",
        ),
        (
            lambda path: edit(path / "config.json", '"vocab_size": 3', '"vocab_size": 1'),
            r"gives the model a vocabulary of 1",
        ),
        (
            lambda path: edit(path / META / "vqgan.yaml", "n_embed: 64", "n_embed: 63"),
            r"vqgan\.yaml has 63 codes, but .*text_tokenizer\.json names 64 image tokens",
        ),
        (
            lambda path: edit(path / META / "vqgan.yaml", "embed_dim: 16", "embed_dim: 8"),
            r"vqgan\.ckpt: the tensor quantize\.embedding\.weight has the shape \[64, 16\]",
        ),
        (
            lambda path: edit(path / META / "vqgan.yaml", "model:", "model: !!python/name:os.system\nother:"),
            r"vqgan\.yaml is no configuration of Chameleon's image tokenizer",
        ),
        (
            lambda path: edit(path / META / "vqgan.yaml", "ch: 32", "ch: 33"),
            r"expected ch a multiple of 32.*received ch 33",
        ),
        (
            lambda path: edit(path / META / "vqgan.yaml", "- 1\n      num_res", "num_res"),
            r"The image tokenizer makes 8 x 8 pixels of a token",
        ),
        (
            lambda path: edit(path / META / "text_tokenizer.json", '"IMGIMGAZ": 4', '"IMGIMGAZ": 5'),
            r"text_tokenizer\.json numbers its 64 image tokens differently",
        ),
        (
            lambda path: edit(path / "tokenizer.json", "IMGIMGAZ", "IMGIMGGGGZ"),
            r"tokenizer\.json is not Chameleon's vocabulary",
        ),
        (lambda path: edit(path / "tokenizer.json", "<reserved08799>", "<other>"), r"lacks the token <reserved08799>"),
        (lambda path: edit(path / "tokenizer.json", "<reserved08808>", "<other>"), r"no tokens for the lengths 256"),
        (lambda path: (path / "tokenizer.json").write_text("{}"), r"tokenizer\.json is no tokenizer file.*vocab|model"),
        (lambda path: (path / META / "vqgan.yaml").unlink(), r"lacks vqgan\.yaml.*three files"),
        (lambda path: (path / META / "text_tokenizer.json").unlink(), r"lacks text_tokenizer\.json.*three files"),
    ],
    ids=[
        "a missing tensor",
        "a tensor too many",
        "a head of another size",
        "norms that no heads can share",
        "a missing shard",
        "another activation",
        "scaled positions",
        "heads of no whole size",
        "a negative size",
        "a vocabulary too small",
        "another number of codes",
        "codes of another size",
        "a Python object in the YAML",
        "channels without groups",
        "other pixels per token",
        "codes in another order",
        "codes with a gap",
        "no row end",
        "no token for a size",
        "an empty tokenizer",
        "no vqgan.yaml",
        "no text_tokenizer.json",
    ],
)
def test_a_spoilt_checkpoint_is_refused_with_the_file_and_the_reason(
    copy: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(copy)
    with pytest.raises(WorkerError, match=message) as caught:
        open_family(copy, OpenOptions()).load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    assert caught.value.code == "checkpoint"


def test_a_fine_tune_that_kept_chameleons_image_encoder_loads_and_chameleon_itself_is_refused(
    copy: Path, tmp_path: Path
) -> None:
    rewrite(copy, lambda state: state | {"model.vqmodel.quant_conv.bias": torch.ones(3)})
    options = OpenOptions(size=(128, 128))
    open_family(copy, options).load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    renamed = copy.rename(tmp_path / "my-fine-tune")
    open_family(renamed, options)
    with pytest.raises(WorkerError, match=r"is Meta's Chameleon.*Expected a Lumina-mGPT"):
        open_family(renamed.rename(tmp_path / "chameleon-7b"), options)


@pytest.mark.parametrize("tied", [True, False, None])
def test_a_head_is_tied_as_transformers_does(copy: Path, tied: bool | None) -> None:
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ({} if tied is None else {"tie_word_embeddings": tied})))
    name = open_family(copy, OpenOptions()).describe(torch.float32).card.name
    assert ("its own head, although tie_word_embeddings is true" in name) == (tied is True)
    rewrite(copy, lambda state: without(state, "lm_head.weight"))
    if not tied:
        with pytest.raises(WorkerError, match=r"lacks lm_head\.weight.*tie_word_embeddings"):
            open_family(copy, OpenOptions())
        return
    opened = open_family(copy, OpenOptions())
    opened.load(dtype=torch.float32, device=torch.device("cpu"), report=lambda *_: None)
    transformer = opened.transformer.module
    codes = list(range(FIRST_CODE, FIRST_CODE + CODE_COUNT))
    embeddings = transformer.embed_text(torch.tensor(codes))  # type: ignore[operator]
    torch.testing.assert_close(transformer.logits(torch.eye(64)).T, embeddings, atol=1e-6, rtol=1e-5)


def test_files_that_are_missing_are_named_with_where_to_get_them(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / META)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(WorkerError, match=r"holds no tokenizer\.json.*Lumina-mGPT-7B-768.*--text-encoder DIR"):
        open_family(copy, OpenOptions())
    with pytest.raises(WorkerError, match=r"holds no vqgan\.ckpt.*from Meta"):
        open_family(copy, OpenOptions(vq_path=tmp_path))


def test_a_checkpoint_of_unknown_size_asks_for_it(copy: Path, tmp_path: Path) -> None:
    unnamed = copy.rename(tmp_path / "mine")
    with pytest.raises(WorkerError, match=r"does not say for which size.*Give 512, 768 or 1024 with `--size`"):
        open_family(unnamed, OpenOptions())
    with pytest.raises(WorkerError, match=r"100 x 90 pixels is a size of no Lumina-mGPT.*768x768"):
        open_family(unnamed, OpenOptions(size=(100, 90)))


def test_a_configuration_of_another_family_is_not_recognised(copy: Path) -> None:
    edit(copy / "config.json", '"chameleon"', '"llama"')
    with pytest.raises(WorkerError, match="model type 'llama'"):
        open_family(copy, OpenOptions())
