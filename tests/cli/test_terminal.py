"""What stands on the terminal is what was meant: nothing is eaten, cut, or quoted from another's words."""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from adapters.c3d.synthesis import synthesise
from adapters.entrypoints import cli, serve
from tests.cli.conftest import PROGRAM, Command, emg_sessions

OK = 0
COMMANDS = [
    (*prefix, each.name or each.callback.__name__)
    for prefix, group in (((), cli.app), (("db",), cli.db), (("cache",), cli.cache))
    for each in group.registered_commands
    if each.callback is not None
]


def words_in(text: str) -> str:
    """The text in one line, without the frames that help stands in."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("command", [(), ("db",), ("cache",), *COMMANDS], ids=" ".join)
def test_help_shows_what_was_written(tmp_path: Path, command: tuple[str, ...]) -> None:
    shown = emg_sessions(tmp_path, {"COLUMNS": "200"})(*command, "--help")
    assert shown.code == OK
    assert "''" not in shown.out
    assert "\\" not in shown.out
    if command in ((), ("bench",)):
        assert "pip install 'emg-sessions[bench]'" in words_in(shown.out)


def test_brackets_in_names_are_shown(command: Command, tmp_path: Path) -> None:
    path = synthesise(tmp_path / "session [red].c3d", seed=1, duration_s=12.0, ghostly=False, channels=["EMG [left]"]).path
    demo = command("demo", path, "--reads", "2")
    assert demo.code == OK, demo.err
    assert "session [red].c3d, channel EMG [left]:" in demo.out
    shown = command("show", "--json", re.findall(r"[0-9a-f-]{36}", demo.out)[0])
    assert json.loads(shown.out)["channels"][0]["name"] == "EMG [left]"


def test_an_address_of_ipv6_is_shown_with_its_brackets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(serve, "out", Console(width=80))

    class Listening:
        def getsockname(self) -> tuple[str, int]:
            return "fe80::1", 8000

    serve._announce(Listening(), has_keys=True)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "http://[fe80::1]:8000\n"


def test_a_command_that_is_printed_is_called_as_this_one_was(command: Command, recordings: list[Path]) -> None:
    folder = recordings[0].parent.parent  # where commands run here
    called = folder / "my bin" / "emg-sessions"
    called.parent.mkdir()
    called.symlink_to(PROGRAM)
    for path, name in ((os.environ["PATH"], "'my bin/emg-sessions'"), (f"{called.parent}:{os.environ['PATH']}", "emg-sessions")):
        run = emg_sessions(folder, {"STORAGE": "memory", "CACHE": "none", "PATH": path}, program=called)
        demo = run("demo", recordings[0], "--reads", "1")
        assert f"  {name} show " in demo.out
        assert f"  {name} cache stats\n" in demo.out
        assert f"; {name} process PATH makes some" in run("show", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10").err
        assert f"Example: {name} show " in run("show", "--help").out


@pytest.mark.parametrize(
    ("threshold_ms", "criteria"),
    [("2000", "at least 75 % of MVC for at least 2 s"), ("60000", "at least 75 % of MVC for at least 60 s"), ("0", "at least 75 % of MVC")],
)
def test_it_is_said_what_a_good_contraction_is(command: Command, recordings: list[Path], threshold_ms: str, criteria: str) -> None:
    processed = command("process", recordings[0], DURATION_THRESHOLD_MS=threshold_ms)
    shown = command("show", re.findall(r"[0-9a-f-]{36}", processed.out)[0])
    for out in (processed.out, shown.out):
        assert f"good: {criteria}\n" in out
        assert "makes its amplitude criterion easy to meet" in " ".join(out.split())
        assert "nearly every" not in out
    assert threshold_ms != "60000" or " 0%" in processed.out


def test_a_line_of_json_names_its_file_as_it_was_given(command: Command, recordings: list[Path]) -> None:
    copy = recordings[0].with_name('renamed "copy".c3d')
    copy.write_bytes(recordings[0].read_bytes())
    given = [str(path.relative_to(recordings[0].parent.parent)) for path in (recordings[0], copy)]
    documents = [json.loads(line) for line in command("process", "--json", *given).out.splitlines()]
    assert [document["path"] for document in documents] == given
    assert documents[0]["session_id"] == documents[1]["session_id"]


def test_the_version_is_told(tmp_path: Path) -> None:
    told = emg_sessions(tmp_path, {})("--version")
    assert (told.code, told.out) == (OK, f"emg-sessions {version('emg-sessions')}\n")


def test_a_key_is_shown_whole_on_a_narrow_terminal(command: Command) -> None:
    shown = command("cache", "inspect", "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10", COLUMNS="60")
    assert shown.code == OK, shown.err
    assert "6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10" in re.sub(r"[^\w-]", "", shown.out)
    assert "…" not in shown.out
    assert "- s" not in shown.out


def test_what_is_not_known_of_a_cache_that_is_gone_is_a_dash(command: Command) -> None:
    shown = command("cache", "health", REDIS_URL="redis://127.0.0.1:1")
    assert shown.code == 1
    assert "unhealthy" in shown.out
    for nonsense in ("- ms", "- s", "in step -"):
        assert nonsense not in shown.out


def test_a_malformed_setting_is_told_in_our_words(tmp_path: Path) -> None:
    told = emg_sessions(tmp_path, {"MVC_CHANNELS": "CH1"})("cache", "health")
    assert told.err == "error: MVC_CHANNELS: must look like CH1=0.0003,CH2=0.00041, not 'CH1'\n"
