"""What `emg-sessions process --json` prints of real recordings, after PostgreSQL and the cache, agrees with the reference values."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command
from tests.golden.comparison import ABSENT, GOLDEN, RECORDINGS, differences

pytestmark = pytest.mark.skipif(not GOLDEN, reason=ABSENT)


def test_the_printed_document_agrees_with_the_reference_values_also_after_storage(command: Command) -> None:
    expected = [json.loads(golden.read_text()) for golden in GOLDEN]
    processed = command("process", "--json", *(RECORDINGS / values["recording"] for values in expected))
    assert processed.code == 0, processed.err
    for values, line in zip(expected, processed.out.splitlines(), strict=True):
        document = json.loads(line)
        shown = [command("show", "--json", document["session_id"], CACHE=cache).out for cache in ("redis", "none")]
        for read in (document, *map(json.loads, shown)):
            flat = read | {key: read["recording"][key] for key in ("sampling_rate_hz", "samples", "duration_s")}
            flat["overall_compliance"] = read["summary"]["overall_compliance"]
            wrong = list(differences({key: value for key, value in values.items() if key != "recording"}, flat))
            assert not wrong, f"{len(wrong)} values differ:\n" + "\n".join(wrong[:30])
