"""Cleans a caption the way the captions of LlamaGen's training were cleaned.

The text encoder saw nothing but cleaned captions, so a prompt is brought into the same form: lower case, without
markup, addresses, file names and article numbers. The rules, their order and their oddities follow `language/t5.py` of
FoundationVision/LlamaGen (MIT).
"""

from __future__ import annotations

import html
import re
import warnings
from urllib.parse import unquote_plus

import ftfy
from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
from bs4.exceptions import ParserRejectedMarkup

from zipar_worker.errors import WorkerError

Rule = tuple[re.Pattern[str], str]

_HOST = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_FILE_TYPES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"


def _rules(*rules: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


_ADDRESSES = _rules(
    ("<person>", "person"),
    (rf"\b(?:https?:(?:/{{1,3}}|[a-zA-Z0-9%])|{_HOST})", ""),
    # Once more: what was left of one address may form another.
    (rf"\b(?:www:(?:/{{1,3}}|[a-zA-Z0-9%])|{_HOST})", ""),
)

_CHARACTERS = _rules(
    (r"@\w+\b", ""),
    # CJK strokes to CJK unified ideographs. The encoder's vocabulary has none of them.
    (r"[\u31c0-\u9fff]+", ""),
    # Dashes and hyphens of all scripts.
    (
        r"[-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32\ufe58"
        r"\ufe63\uff0d]+",
        "-",
    ),
    ("[`\u00b4\u00ab\u00bb\u201c\u201d\u00a8]", '"'),
    ("[\u2018\u2019]", "'"),
    (r"&quot;?", ""),
    (r"&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # network addresses
    (r"\d:\d\d\s+$", ""),  # times at the end
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.(?:{_FILE_TYPES})", ""),
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#\u00ae\u2022\u00a9\u2122&@\u00b7\u00ba\u00bd\u00be\u00bf\u00a1\u00a7~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)

_JOINT = re.compile("[-_]")
_MAXIMAL_JOINTS = 3
"""A caption with more hyphens and underscores than this is taken for words-joined-like-this."""

_WORDS = _rules(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # article numbers, such as jc6640
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILE_TYPES})(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[x\u0445\u00d7]\d+\.?\d*\b", ""),  # sizes, such as 30x40, also with a Cyrillic x
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
    # The caption is not stripped in between: a space at an end protects what follows from the rules below.
    (r"^[\"']([\w\W]+)[\"']$", r"\1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
)


def clean_caption(caption: str) -> str:
    """The caption as the text encoder sees it, perhaps empty. Raises `prompt` for markup that nobody can read.

    Cleaned twice, since one pass can uncover work for another.
    """
    return _clean_once(_clean_once(caption))


def _clean_once(caption: str) -> str:
    caption = _apply(_ADDRESSES, unquote_plus(caption).strip().lower())
    caption = _apply(_CHARACTERS, _text_of_markup(caption))
    if len(_JOINT.findall(caption)) > _MAXIMAL_JOINTS:
        caption = _JOINT.sub(" ", caption)
    caption = html.unescape(html.unescape(ftfy.fix_text(caption))).strip()
    return _apply(_WORDS, caption).strip()


def _apply(rules: tuple[Rule, ...], caption: str) -> str:
    for pattern, replacement in rules:
        caption = pattern.sub(replacement, caption)
    return caption


def _text_of_markup(caption: str) -> str:
    with warnings.catch_warnings():
        # It warns where a text looks like a file name. It is a caption.
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        try:
            return BeautifulSoup(caption, features="html.parser").text
        except ParserRejectedMarkup as error:
            raise WorkerError(
                "prompt",
                f"The prompt {caption[:80]!r} holds markup that cannot be read, such as an unfinished `<![`. "
                f"Remove it.",
            ) from error
