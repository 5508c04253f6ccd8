"""schemathesis over the OpenAPI document: whatever is sent, the answer is one that the document describes, and never a 500."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio.from_thread
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from adapters.http.app import create_app
from adapters.http.needs import HttpNeeds
from adapters.settings import Settings, load_settings
from container import http_policy, running
