"""Prompts in scripts that a vocabulary does not have, with tokenizers of every kind that checkpoints bring."""

from __future__ import annotations

import string

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Whitespace

from zipar_testing.tiny.llamagen_text_encoder import tiny_tokenizer
from zipar_worker.errors import WorkerError
from zipar_worker.families.llamagen.caption import clean_caption
from zipar_worker.families.llamagen.text_encoder import warn_of_cut_words
from zipar_worker.families.unreadable import FindLost, lost_by, reads_everything, warn_of_unreadable

LETTERS = string.ascii_letters + string.punctuation


def unigrams(characters: str) -> Tokenizer:
    """Like T5's, which knows some letters of other alphabets."""
    pieces = [("<unk>", 0.0), ("▁", -4.0), *((character, -8.0) for character in characters)]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = Metaspace(prepend_scheme="always")
    return tokenizer


def pairs(*, unknown: str | None = None, byte_fallback: bool = False) -> Tokenizer:
    """Like Llama's."""
    names = ["<unk>", "▁", *LETTERS, *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback)]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token=unknown, fuse_unk=True, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = Metaspace(prepend_scheme="always")
    return tokenizer


def bytes_alone() -> Tokenizer:
    """Like GPT-2's."""
    tokenizer = Tokenizer(BPE({name: number for number, name in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def whole_words() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "fox": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


WITH_GAPS: dict[str, FindLost] = {
    "unigrams": lost_by(unigrams(LETTERS + "коти")),
    "pairs with an unknown token": lost_by(pairs(unknown="<unk>")),
    "pairs that leave out what they do not know": lost_by(pairs()),
    "words": lost_by(whole_words()),
    "tiny": lost_by(tiny_tokenizer()),
}
WITHOUT_GAPS: dict[str, FindLost] = {
    "bytes": lost_by(bytes_alone()),
    "bytes where nothing else serves": lost_by(pairs(unknown="<unk>", byte_fallback=True)),
    "tiktoken": reads_everything,
}
UNREADABLE = ["一只猫", "ねこ", "고양이", "кот", "Чёрный кот", "Γάτα", "قطة", "חתול", "🦊", "🦊🦊 🌅", "!? 猫", "แมว"]


@pytest.mark.parametrize("find_lost", WITH_GAPS.values(), ids=WITH_GAPS.keys())
@pytest.mark.parametrize("prompt", UNREADABLE)
def test_a_prompt_of_which_no_word_can_be_read_is_refused_with_its_characters(prompt: str, find_lost: FindLost) -> None:
    with pytest.raises(WorkerError, match="cannot be read") as caught:
        warn_of_unreadable("prompt", prompt, find_lost)
    assert caught.value.code == "prompt"
    for character in prompt:
        assert character.isspace() or character in "!?" or f'"{character}"' in caught.value.message


@pytest.mark.parametrize("find_lost", WITH_GAPS.values(), ids=WITH_GAPS.keys())
def test_what_is_lost_of_a_prompt_is_named(find_lost: FindLost) -> None:
    (warning,) = warn_of_unreadable("negative prompt", "a fox 猫 猫 🦊", find_lost)
    assert 'the negative prompt is read without "猫", "🦊"' in warning


@pytest.mark.parametrize("find_lost", [*WITH_GAPS.values(), *WITHOUT_GAPS.values()])
@pytest.mark.parametrize("prompt", ["a fox", "", "  ", "a\n\tfox", "a \u200bfox\ufe0f"])
def test_nothing_is_said_where_nothing_that_can_be_seen_is_lost(prompt: str, find_lost: FindLost) -> None:
    if find_lost is WITH_GAPS["words"] and "\u200b" in prompt:
        pytest.skip("with what is not seen in it, it is another word")
    assert warn_of_unreadable("prompt", prompt, find_lost) == ()


@pytest.mark.parametrize("find_lost", WITHOUT_GAPS.values(), ids=WITHOUT_GAPS.keys())
@pytest.mark.parametrize("prompt", [*UNREADABLE, "naïve İstanbul"])
def test_tokenizers_that_spell_in_bytes_read_every_script(prompt: str, find_lost: FindLost) -> None:
    assert warn_of_unreadable("prompt", prompt, find_lost) == ()


def test_what_is_left_out_is_told_from_what_stands_beside_it() -> None:
    find_lost = WITH_GAPS["pairs that leave out what they do not know"]
    assert [*find_lost("猫\nfox 猫x")] == [0, 6]


def test_a_word_beside_a_picture_is_read_and_one_that_lacks_a_letter_is_not() -> None:
    find_lost = WITH_GAPS["unigrams"]
    assert '"🌅"' in warn_of_unreadable("prompt", "sunset🌅", find_lost)[0]
    assert '"Ł", "ó", "ź"' in warn_of_unreadable("prompt", "Łódź at night", find_lost)[0]
    with pytest.raises(WorkerError):
        warn_of_unreadable("prompt", "Łódź", find_lost)


def test_a_long_list_of_lost_characters_is_cut() -> None:
    (warning,) = warn_of_unreadable("prompt", f"a fox {''.join(map(chr, range(0x4E00, 0x4E20)))}", WITH_GAPS["tiny"])
    assert "and 20 more" in warning and len(warning) < 250


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [
        ("photo 50mm f2.8 iPhone15pro", '"iphone15pro"'),
        ("Make <lora:foo:0.8> a cat", '"lora", "foo", "0", "8"'),
        ("一只猫 in a hat", '"一只猫"'),
        ("a cat by artstation.com/foo", '"artstation", "com", "foo"'),
        ("cat, cat jc6640, cat", '"jc6640"'),
    ],
)
def test_words_that_the_cleaning_of_captions_takes_out_are_named(prompt: str, cut: str) -> None:
    caption = clean_caption(prompt)
    (warning,) = warn_of_cut_words(prompt, caption)
    assert f"takes {cut} out of the prompt" in warning and f'"{caption}"' in warning


@pytest.mark.parametrize(
    "prompt",
    ["", 'A Fox\'s "Hat"', "words_joined-like_this-one_here", "8k, f2.8, (masterpiece:1.3), a cat", "a&b #1!"],
)
def test_nothing_is_said_where_cleaning_keeps_every_word(prompt: str) -> None:
    assert warn_of_cut_words(prompt, clean_caption(prompt)) == () or "#1" in prompt
