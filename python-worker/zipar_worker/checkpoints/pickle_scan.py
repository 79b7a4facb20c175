"""Reads a pickle without making anything of it, to tell what loading it would make.

PyTorch's restricted unpickler runs no code, but may take any time and memory: hashing or printing a tuple that holds
itself twice, thirty times over, takes minutes. So nothing is unpickled but what `torch.save` writes of tensors, plain
values and containers of them.
"""

from __future__ import annotations

import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

MAXIMAL_BYTES = 1 << 24
_MAXIMAL_OPERATIONS = 1 << 19
_MAXIMAL_TUPLE_WEIGHT = 1 << 14
_MAXIMAL_TUPLE_DEPTH = 32

_CALLED = {
    "argparse.Namespace",
    "builtins.complex",
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "_codecs.encode",
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")),
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.serialization._get_layout",
}
"""What makes something of its arguments in an honest file, and takes no memory that the file does not have."""
_NAMED = re.compile(r"torch\.(?:storage\.)?(?:\w*Storage|[a-z]+\d\w*|bool|half|float|double|Tensor)")
"""What stands in such a file as a value: classes of storages, and number types."""
PROGRAM_CLASSES = re.compile(r"__torch__\..+|torch\.jit\._pickle\.\w+")
"""Of the modules of a TorchScript program, and makers of its lists."""
_NOTHING = re.compile(r"(?!)")
_DANGEROUS = re.compile(
    r"(?:os|posix|nt|sys|subprocess|importlib|runpy|socket|shutil|ctypes|pty|pickle|_pickle|marshal|types|code|codeop"
    r"|operator|_operator|webbrowser|urllib|http|multiprocessing|pydoc|timeit|profile|cProfile|pdb|bdb|tempfile|io"
    r"|signal|threading|asyncio|torch\.hub|torch\.package|torch\.utils\.cpp_extension)(?:\.|$)"
    r"|builtins\.(?:eval|exec|compile|open|getattr|setattr|delattr|__import__|globals|locals|vars|input|breakpoint|map"
    r"|filter|apply|execfile)$|numpy\..*\.(?:exec_command|runstring)$"
)
_CALLS = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_PLAIN = {
    code.name
    for code in pickletools.opcodes
    if code.stack_after and not code.stack_before and code.stack_after[0].obtype not in (list, dict, set, tuple, object)
}
"""Operations that make a number, a text, bytes, or None."""
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a pickle."""

    refused: tuple[str, ...]
    """Python objects that loading would need beyond what `torch.save` writes of tensors."""
    oddity: str | None
    """Why it cannot be what `torch.save` writes, in words; None where it can."""

    @property
    def dangerous(self) -> str | None:
        """The first of the objects that only an attack needs."""
        return next((name for name in self.refused if _DANGEROUS.match(name)), None)


class _Value(NamedTuple):
    kind: str
    """`plain`, `global`, `tuple`, `flat` (a tuple of nothing but plain values and globals), `object` or `other`."""
    text: str = ""
    weight: int = 1
    depth: int = 0


_OTHER = _Value("other")
_NUMBER = _Value("plain")


def scan_pickle(stream: BinaryIO, inert: re.Pattern[str] = _NOTHING) -> Scan:
    """Reads one pickle up to its end. inert: names for which the reader has something harmless of its own.

    Raises ValueError where it is none.
    """
    refused: dict[str, None] = {}
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[int, _Value] = {}
    oddity: str | None = None
    try:
        argument: Any
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MAXIMAL_OPERATIONS:
                return Scan(tuple(refused), f"it has more than {_MAXIMAL_OPERATIONS} operations")
            name: str = code.name
            if name in _PUT:
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _GET:
                stack.append(memo[argument])
            elif name == "MARK":
                marks.append(len(stack))
            else:
                taken = _take_(stack, marks, code)
                made = _make(code, argument, taken)
                if made.kind == "global" and not (
                    made.text in _CALLED or _NAMED.fullmatch(made.text) or inert.fullmatch(made.text)
                ):
                    refused[made.text] = None
                oddity = oddity or _oddity(name, taken, made, inert)
                stack += [made] * len(code.stack_after)
    except (IndexError, KeyError) as error:
        raise ValueError("its operations do not fit each other") from error
    return Scan(tuple(refused), oddity)


def _take_(stack: list[_Value], marks: list[int], code: Any) -> list[_Value]:
    """The values that an operation takes off the stack."""
    before = code.stack_before
    start = len(stack) - len(before)
    if pickletools.markobject in before:
        start = marks.pop() - before.index(pickletools.markobject)
    if start < 0:
        raise IndexError
    taken = stack[start:]
    del stack[start:]
    return taken


def _make(code: Any, argument: Any, taken: list[_Value]) -> _Value:
    """What an operation puts onto the stack."""
    name: str = code.name
    if name in ("GLOBAL", "INST"):
        return _Value("global", _modern_name(*argument.split(" ", 1)))
    if name == "STACK_GLOBAL":
        return _Value("global", ".".join(value.text for value in taken))
    if name in _TUPLES:
        return _tuple_of(taken)
    if name == "BINPERSID":
        return _OTHER
    if name == "NEWOBJ":
        return _Value("object")
    if name in _PLAIN:
        return _Value("plain", argument) if isinstance(argument, str) else _NUMBER
    return _OTHER


def _modern_name(module: str, name: str) -> str:
    """As PyTorch reads the names of a time when Python 2 wrote pickles."""
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _tuple_of(values: Iterable[_Value]) -> _Value:
    values = list(values)
    inner = [value for value in values if value.kind in ("tuple", "flat")]
    return _Value(
        "flat" if all(value.kind in ("plain", "global") for value in values) else "tuple",
        "",
        1 + len(values) + sum(value.weight for value in inner),
        1 + max((value.depth for value in inner), default=0),
    )


def _oddity(name: str, taken: list[_Value], made: _Value, inert: re.Pattern[str]) -> str | None:
    if made.weight > _MAXIMAL_TUPLE_WEIGHT or made.depth > _MAXIMAL_TUPLE_DEPTH:
        return "it nests tuples within tuples without end"
    is_known = taken and taken[0].kind == "global" and (taken[0].text in _CALLED or inert.fullmatch(taken[0].text))
    if name in _CALLS and not is_known:
        return f"it makes an object of {taken[0].text or 'a value that is no class'}"
    if name == "BUILD" and inert is not _NOTHING and taken[0].kind != "object":
        return "it sets the state of something else than an object of its own"
    if name == "BINPERSID" and taken[0].kind not in ("flat", "plain"):
        return "it names a storage by something else than text and numbers"
    return None
