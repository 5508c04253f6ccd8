"""An S3 server."""

from __future__ import annotations

from tests.s3 import s3

__all__ = ["s3"]
