"""schemathesis over the OpenAPI document: whatever is sent, the answer is one that the document describes, and never a 500."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.settings import Settings
from tests.http.api.servers import served
from tests.http.api.service import SECRET, token

# Not whether what the document allows is accepted: no schema says that a cursor was given by us, or that a file is C3D.
_LEFT_OUT = "positive_data_acceptance"
_EXAMPLES = 5
_SECONDS_MAX = 200


@pytest.mark.timeout(240)
def test_schemathesis_finds_nothing(settings: Settings, tmp_path: Path) -> None:
    with served(settings, WEBHOOK_SECRET=SECRET, UPLOADS_PER_MINUTE_MAX="100000") as url:
        schemathesis = str(Path(sys.executable).with_name("schemathesis"))
        command = [
            schemathesis, "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {token()}",
            "--phases", "examples,coverage,fuzzing", "--max-examples", str(_EXAMPLES), "--seed", "1", "--exclude-checks", _LEFT_OUT,
            "--request-timeout", "20", "--no-color", "--generation-database", "none",
        ]  # fmt: skip
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=_SECONDS_MAX, env=environment)
    assert found.returncode == 0, found.stdout[-8000:]
