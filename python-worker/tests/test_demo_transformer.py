"""The transformer that trains the demo checkpoint is the one that the worker and the official code run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from executor_driver import DISTRIBUTION, Feed, start, write_checkpoint
from plain_llamagen import PlainConfig, seeded_state

from zipar_demo.run_state import load_run_, save_run_
from zipar_demo.sample import SamplingSettings, sample_tokens
from zipar_demo.train_transformer import make_optimizers, token_loss
from zipar_demo.transformer import KvMemory, Transformer, TransformerConfig

CASES = json.loads((Path(__file__).parent / "fixtures" / "llamagen_official.json").read_text())["cases"]
CONFIG = PlainConfig(dim=64, layers=2, heads=4, kv_heads=4, codes=48, classes=7, rows=4, columns=5)
STATE = seeded_state(CONFIG, seed=21)
RANDOM = torch.Generator().manual_seed(4)


def training_transformer(config: PlainConfig, seed: int) -> Transformer:
    model = Transformer(
        TransformerConfig(
            dim=config.dim,
            layers=config.layers,
            heads=config.heads,
            vocab_size=config.codes,
            rows=config.rows,
            columns=config.columns,
            class_count=config.classes,
        )
    )
    model.load_state_dict(seeded_state(config, seed))
    return model.requires_grad_(False)


@pytest.mark.parametrize("case", [case for case in CASES if case["config"]["heads"] == case["config"]["kv_heads"]])
def test_logits_equal_the_official_ones(case: dict[str, Any]) -> None:
    model = training_transformer(PlainConfig(**case["config"]), case["seed"])
    logits = model(torch.tensor([case["classIndex"]]), torch.tensor([case["tokens"]]))[0]
    expected = torch.tensor(case["logits"])
    torch.testing.assert_close(logits[: len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_logits_equal_those_of_the_worker(tmp_path: Path) -> None:
    model = training_transformer(CONFIG, seed=21)
    tokens = torch.randint(CONFIG.codes, (CONFIG.rows * CONFIG.columns - 1,), generator=RANDOM).tolist()
    branches = model(torch.tensor([3, CONFIG.classes]), torch.tensor([tokens, tokens]))
    expected = (branches[1] + 2.5 * (branches[0] - branches[1])).log_softmax(dim=-1)

    driver = start(write_checkpoint(tmp_path, CONFIG, STATE))
    driver.encode(1, class_index=3, cache_rows=(0, 1))
    queries = [(token, slot, DISTRIBUTION) for slot, token in enumerate([0, *tokens])]
    result = driver.forward(Feed(1, queries, [(0, len(queries))], guidance_scale=2.5, temperature=1.0))
    found = torch.tensor(result.distribution_probabilities.tolist()).view(len(queries), CONFIG.codes).log()
    torch.testing.assert_close(found.float(), expected, atol=1e-4, rtol=1e-4)


def test_one_position_at_a_time_gives_the_logits_of_all_at_once() -> None:
    model = training_transformer(CONFIG, seed=21)
    classes, tokens = torch.tensor([2, 7]), torch.randint(CONFIG.codes, (2, 9), generator=RANDOM)
    memory = KvMemory(model.config, batch=2)
    inputs = torch.cat([model.embed_classes(classes), model.tok_embeddings(tokens)], dim=1)
    stepped = torch.cat([model.advance(hidden, memory) for hidden in inputs.split(1, dim=1)], dim=1)
    torch.testing.assert_close(stepped, model(classes, tokens), atol=1e-5, rtol=1e-5)


def test_samples_are_repeatable_and_top_1_is_greedy() -> None:
    model = training_transformer(CONFIG, seed=21)

    def sample(settings: SamplingSettings, seed: int) -> list[list[int]]:
        tokens: list[list[int]] = sample_tokens(model, [0, 4], settings, torch.Generator().manual_seed(seed)).tolist()
        return tokens

    assert sample(SamplingSettings(), 1) == sample(SamplingSettings(), 1) != sample(SamplingSettings(), 2)
    greedy = SamplingSettings(guidance_scale=1.0, top_k=1)
    tokens = sample(greedy, 1)
    assert tokens == sample(greedy, 2)
    logits = model(torch.tensor([0, 4]), torch.tensor(tokens)[:, :-1])
    assert logits.argmax(dim=-1).tolist() == tokens


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    classes, tokens = (
        torch.tensor([1, 3]),
        torch.randint(CONFIG.codes, (2, CONFIG.rows * CONFIG.columns), generator=RANDOM),
    )

    def steps_(model: Transformer, count: int, run: Path) -> None:
        optimizers = make_optimizers(model)
        done = load_run_(run, {"model": model}, optimizers)
        for _ in range(count):
            model.zero_grad()
            torch.autograd.backward(token_loss(model, classes, tokens))
            for optimizer in optimizers.values():
                optimizer.step()
        save_run_(run, {"model": model}, optimizers, done + count)

    whole, stopped = (training_transformer(CONFIG, seed=21).requires_grad_() for _ in range(2))
    steps_(whole, 4, tmp_path / "whole.safetensors")
    steps_(stopped, 2, tmp_path / "stopped.safetensors")
    resumed = training_transformer(CONFIG, seed=5).requires_grad_()
    steps_(resumed, 2, tmp_path / "stopped.safetensors")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
