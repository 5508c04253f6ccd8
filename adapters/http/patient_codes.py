"""What a patient's code may be, wherever it comes from: a pseudonym that fits into addresses and cursors."""

from __future__ import annotations

import re
from typing import Final

PATIENT_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
