"""`emg-sessions serve`, as a process."""

from __future__ import annotations

import http.client
import logging
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapters.entrypoints.serve import _ServerLog
from adapters.settings import Settings
from tests.http.api.servers import served, start
from tests.http.api.service import Service, token


def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_prints_its_address_answers_and_ends_well(settings: Settings) -> None:
    with served(settings) as url:
        assert get(url, "/api/v1/sessions")[0] == 401
        assert get(url, "/api/v1/sessions", Authorization=f"Bearer {token()}")[0] == 200


def test_probes_may_ask_with_head(settings: Settings) -> None:
    with served(settings) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        try:
            for path in ("/health", "/health/live", "/health/ready", "/metrics", "/api/v1/sessions"):
                connection.request("HEAD", path, headers={"Authorization": f"Bearer {token()}"})
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b""), path
                assert int(answer.headers["content-length"]) > 0
        finally:
            connection.close()


def test_what_the_server_says_is_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    _ServerLog().emit(logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "%s is late\nTraceback", ("somebody",), None))
    seen = capsys.readouterr()
    assert "somebody is late" in seen.out + seen.err
    assert "Traceback" not in seen.out + seen.err


def failed(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        out, complaints = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert out == ""
    return process.returncode, " ".join(complaints.split())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_without_keys_it_refuses_to_listen_to_others(settings: Settings, host: str) -> None:
    code, complaint = failed(start(settings.model_copy(update={"jwt_secret": None}), "--host", host))
    assert code == 2
    assert "set JWT_SECRET" in complaint


def test_a_folder_of_recordings_that_cannot_be_is_a_mistake_in_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    alone = Settings(storage="memory", cache="none", data_dir=tmp_path)
    code, complaint = failed(start(alone, RECORDINGS_URL="file:///proc/x"))
    assert code == 2
    assert "RECORDINGS_URL" in complaint
    code, complaint = failed(start(alone, DATA_DIR=str(tmp_path / "file" / "below")))
    assert code == 2
    assert "DATA_DIR" in complaint


def test_without_keys_it_says_so_and_answers_this_machine(settings: Settings) -> None:
    process = start(settings.model_copy(update={"jwt_secret": None}))
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert get(url, "/api/v1/sessions")[0] == 200
    assert get(url, "/api/v1/sessions", Host="evil.example")[0] == 403
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert "no keys" in " ".join(complaints.split())


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("JWT_SECRET", "short", "JWT_SECRET: must have 32 bytes at least"),
        ("JWT_JWKS_FILE", "/nowhere/keys.json", "JWT_JWKS_FILE: there is no JSON Web Key Set in it"),
        ("JWT_JWKS_URL", "ftp://keys.example", "JWT_JWKS_URL: must be an https:// or http:// address"),
        ("JWT_LEEWAY_S", "100000", "JWT_LEEWAY_S"),
    ],
)
def test_wrong_keys_are_told_at_the_start(settings: Settings, variable: str, value: str, complaint: str) -> None:
    code, complaints = failed(start(settings, **{variable: value}))
    assert code == 2
    assert complaint in complaints
    assert "short" not in complaints


def test_a_port_that_is_taken_is_told(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(settings, "--port", str(taken.getsockname()[1]))
        code, complaints = failed(process)
    assert code == 2
    assert "choose another with --host and --port" in complaints


def test_a_client_that_goes_away_or_dawdles_harms_nobody(settings: Settings) -> None:
    with served(settings) as url:
        address = urlsplit(url)
        assert address.hostname is not None
        request = f"GET /api/v1/sessions/6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10/analytics HTTP/1.1\r\nHost: {address.netloc}\r\n"
        with socket.create_connection((address.hostname, address.port or 0), timeout=10) as dawdler:
            dawdler.sendall(request.encode())  # And never the end of it.
            for _ in range(20):
                with socket.create_connection((address.hostname, address.port or 0), timeout=10) as gone:
                    gone.sendall(f"{request}Authorization: Bearer {token()}\r\n\r\n".encode())
            deadline = time.monotonic() + 10
            while get(url, "/api/v1/sessions", Authorization=f"Bearer {token()}")[0] != 200:
                assert time.monotonic() < deadline


async def test_who_follows_a_session_is_let_go_at_once_when_the_server_is_told_to_end(service: Service, settings: Settings) -> None:
    """The answer is ended as HTTP has it; cut off, it would be an error to the client, and an update would wait out the drain."""
    session = await service.session(analysed=False)
    with served(settings) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        connection.request("GET", f"/api/v1/sessions/{session.session_id}/events", headers={"Authorization": f"Bearer {token()}"})
        answer = connection.getresponse()
        while not (line := answer.readline()).startswith(b"data: "):
            assert line, "the stream ended before its first event"
    # It was told to end, and has.
    answer.read()  # Raises IncompleteRead if the answer has no end.
    connection.close()


@pytest.mark.parametrize("begin", [b"", b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "], ids=["nothing", "a head"])
def test_a_client_that_never_ends_a_head_is_hung_up_on_and_one_that_pauses_between_requests_is_not(
    settings: Settings, begin: bytes
) -> None:
    with served(settings, HEAD_S_MAX="0.6") as url:
        address = urlsplit(url)
        assert address.hostname is not None
        pausing = http.client.HTTPConnection(address.netloc, timeout=20)
        pausing.request("GET", "/health/live")
        assert pausing.getresponse().read()
        kept = pausing.sock
        with socket.create_connection((address.hostname, address.port or 0), timeout=20) as dawdler:
            dawdler.sendall(begin)
            dawdler.settimeout(0.1)
            deadline = time.monotonic() + 20
            while not hung_up_on(dawdler, b"a" if begin else b""):
                assert time.monotonic() < deadline, "it may go on for ever"
        pausing.request("GET", "/health/live")
        assert pausing.getresponse().read()
        assert pausing.sock is kept
        # A request in time on a connection that was kept alive, then one whose head does not end.
        assert kept is not None
        kept.sendall(b"GET /health/live HTTP/1.1\r\n")
        kept.settimeout(0.1)
        while not hung_up_on(kept, b"X"):
            assert time.monotonic() < deadline + 20, "it may go on for ever"
        pausing.close()


def hung_up_on(client: socket.socket, more: bytes) -> bool:
    """Sends some more, if there is anything; whether the server has closed the connection."""
    try:
        client.sendall(more)
        return client.recv(1000) == b""
    except TimeoutError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_what_is_not_http_is_400_without_a_word_more(settings: Settings) -> None:
    with served(settings) as url:
        address = urlsplit(url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 0), timeout=10) as client:
            client.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400")
