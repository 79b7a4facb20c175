"""Why a checkpoint could not be had from the Hugging Face hub, in words that say what to do."""

from __future__ import annotations

from zipar_worker.errors import WorkerError
from zipar_worker.wire.protocol import HubSource

_FILES = (
    "config.json, the weights (*.safetensors or *.bin, with their *.index.json where there are several), and the "
    "tokenizer's files (tokenizer*.json, *.model, *.tiktoken, *.txt)"
)


def explain_failure(source: HubSource, error: Exception, option: str) -> WorkerError:
    """A `checkpoint` error for what `huggingface_hub` raised. option: what takes a path instead, e.g. `--model`."""
    from huggingface_hub import constants, errors

    name = source.repository if source.revision is None else f"{source.repository}@{source.revision}"
    page = f"{constants.ENDPOINT}/{source.repository}"
    if isinstance(error, errors.GatedRepoError):
        text = (
            f"{name} is gated. Accept its conditions at {page}, then set HF_TOKEN to a token of that account "
            f"(or log in with `hf auth login`)."
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{source.repository} has no revision {source.revision!r}. Its branches and tags are listed at {page}."
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = (
            f"There is no repository {name} at {constants.ENDPOINT}, or it is private: then set HF_TOKEN. If a path "
            f"was meant: nothing exists at it on this machine."
        )
    elif isinstance(error, errors.HFValidationError):
        text = f"{name!r} is neither an existing path nor the name of a repository: {error}"
    elif isinstance(error, errors.OfflineModeIsEnabled):
        text = f"{name} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it. {_bring(source, page, option)}"
    elif _is_unreachable(error):
        text = (
            f"{name} is not whole in the cache, and {constants.ENDPOINT} cannot be reached ({_one_line(error)}). With "
            f"network, run it again: files that are whole are kept. {_bring(source, page, option)}"
        )
    else:
        text = f"Fetching {name} failed: {_one_line(error)}. Run it again: files that are whole are kept."
    return WorkerError("checkpoint", text, {"repository": source.repository})


def _bring(source: HubSource, page: str, option: str) -> str:
    from huggingface_hub import constants

    files, target = (source.path, "FILE") if source.path else (_FILES, "DIR")
    return (
        f"Otherwise bring from {page}/tree/{source.revision or 'main'}: {files}. Put them into one directory on this "
        f"machine and give {option} {target}, or bring a whole cache directory (here {constants.HF_HUB_CACHE})."
    )


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether no answer came, as `httpx` and the operating system put it."""
    names = {"TransportError", "ConnectionError", "TimeoutError", "gaierror"}
    while error is not None:
        if names & {ancestor.__name__ for ancestor in type(error).__mro__}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
