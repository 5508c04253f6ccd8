"""The pseudonyms under which patients are known."""

from __future__ import annotations

import re
from typing import Final

from domain.errors import InvalidPatientCode

PATIENT_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse_patient_code(text: str) -> str:
    """A patient's code, as an upload or a command gives it. Raises InvalidPatientCode."""
    if PATIENT_CODE.fullmatch(text) is None:
        raise InvalidPatientCode
    return text
