"""A short run of `fuzz_requests.py`; the long one is `npm run test:fuzz`."""

from __future__ import annotations

import pytest
from fuzz_requests import fuzz


def test_damaged_requests_are_taken_or_refused_with_a_typed_error(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fuzz(6_000, seed=7)
    assert outcome["problems"] == []
    assert outcome["taken"] > 100 and outcome["refused"] > 1_000 and outcome["fatal"] > 1_000
