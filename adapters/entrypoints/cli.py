"""The command `emg-sessions`."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.entrypoints.program import as_called

app = typer.Typer(
    name="emg-sessions",
    help="EMG therapy sessions: each recording is analysed once, and its analytics are read many times through one cached repository.\n\n"
    "Without DATABASE_URL and REDIS_URL a PostgreSQL and a Valkey of its own are started, with their data in DATA_DIR.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
cache = typer.Typer(help="The cache: what is in it, and how it does.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(cache, name="cache")


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emg-sessions {version('emg-sessions')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_tell_version)] = False,
) -> None:
    """What goes before a command."""


AsJson = Annotated[bool, typer.Option("--json", help="One JSON document a line on standard output, all else on standard error.")]


@app.command(
    epilog="Example: emg-sessions process recordings/ extra.c3d --json > analytics.jsonl; "
    "or emg-sessions process extra.c3d --mvc CH1=3e-4 --mvc CH2=4e-4"
)
def process(
    paths: Annotated[list[Path], typer.Argument(help="C3D files, and folders of them.", show_default=False)],
    as_json: AsJson = False,
    mvc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL=VALUE",
            help="A channel's maximum voluntary contraction, in the recording's unit; without CHANNEL= every channel's. May be repeated. "
            "Kept with the session in place of those given before; if never given: MVC_CHANNELS, MVC_SESSION, else an estimate.",
            show_default=False,
        ),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="The pseudonym of the patient of all these recordings. Sessions that have a patient keep theirs: with another one, that "
            "recording fails.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Analyse recordings and store what was found. Recordings that were analysed before are recognised by their bytes.

    Exit code 0: all went well; 1: some recordings could not be analysed; 2: wrong usage or settings; 3: the storage failed.
    """
    from adapters.entrypoints import console, process
    from domain.errors import InvalidMvc, InvalidPatientCode
    from domain.mvc import given_mvc
    from domain.patient import parse_patient_code

    try:
        code = None if patient is None else parse_patient_code(patient)
        given = given_mvc(mvc) if mvc else None
    except InvalidPatientCode as error:
        raise typer.BadParameter(str(error), param_hint="--patient") from None
    except InvalidMvc as error:
        found = "" if error.found is None else f"{error.found!r}: "
        raise typer.BadParameter(f"{found}{error}", param_hint="--mvc") from None
    raise typer.Exit(console.run(partial(process.command, paths=paths, as_json=as_json, mvc=given, patient_code=code)))


@app.command(epilog="Example: emg-sessions show 6f1c1c3e-52ff-5d5a-9d0b-7f6a2b8d9a10")
def show(
    session_id: Annotated[str, typer.Argument(help="The id that `process` printed.", show_default=False)],
    as_json: AsJson = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="No older than the last write, at the price of a slower answer.")] = False,
) -> None:
    """Show a session's analytics, and which store answered in what time, with what version and age."""
    from adapters.entrypoints import console, show

    raise typer.Exit(console.run(partial(show.command, session_id=session_id, as_json=as_json, fresh=fresh)))


@app.command(epilog="Example: emg-sessions demo, or with recordings of your own: emg-sessions demo recordings/")
def demo(
    paths: Annotated[list[Path] | None, typer.Argument(help="C3D files and folders; without any, recordings are made up.")] = None,
    reads: Annotated[int, typer.Option(min=1, max=10_000, help="Reads a session and store, for the times.")] = 50,
) -> None:
    """Process recordings, read each session from PostgreSQL, from Redis and from the process's own copies, and draw one of them."""
    from adapters.entrypoints import console, demo

    raise typer.Exit(console.run(partial(demo.command, paths=paths or [], reads=reads)))


@app.command(epilog="Example: emg-sessions serve --port 8080")
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at; any but this machine's own needs keys (JWT_SECRET).")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any that is free, which is printed.")] = 8000,
    worker: Annotated[bool, typer.Option(help="Also process what arrives. Without it, run `emg-sessions worker` beside.")] = True,
) -> None:
    """Serve the API. Without keys for bearer tokens, this machine alone is answered.

    Exit code 0: it was told to end; 2: wrong usage or settings; 3: the storage failed.
    """
    from adapters.entrypoints import console, serve, serving

    raise typer.Exit(console.run(partial(serve.command, host=host, port=port, with_worker=worker), loop_factory=serving.new_event_loop))


@app.command(epilog="Example: emg-sessions token --role therapist --subject anna")
def token(
    role: Annotated[str, typer.Option(help="therapist, researcher or admin.")] = "admin",
    subject: Annotated[str, typer.Option(help="Whose token it is; patients are assigned to subjects.")] = "local",
    hours: Annotated[float, typer.Option(min=0.01, max=24.0 * 365, help="Hours until it expires.")] = 8.0,
) -> None:
    """Print a bearer token signed with JWT_SECRET, for local use. Whoever has the secret can be anybody."""
    from adapters.entrypoints import console, token
    from domain.access import Role

    if role not in {each.value for each in Role}:
        raise typer.BadParameter("must be therapist, researcher or admin", param_hint="--role")
    raise typer.Exit(console.run(partial(token.command, subject=subject, role=Role(role), hours=hours)))


@app.command(epilog="Example: emg-sessions worker --concurrency 4")
def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Recordings processed at once; WORKER_CONCURRENCY if not given.", show_default=False)
    ] = None,
) -> None:
    """Process the recordings that were uploaded or announced, until SIGTERM or Ctrl-C. Any number of workers share the work.

    Told to stop, it ends what it is processing and takes nothing new; told twice, it stops at once. Nothing is lost, whatever ends it.
    """
    from adapters.entrypoints import console, worker

    given: dict[str, Any] = {} if concurrency is None else {"worker_concurrency": concurrency}
    raise typer.Exit(console.run(worker.command, **given))


@app.command(epilog="Example: emg-sessions bench --quick --only hits")
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Everything within 90 s, with wider spreads.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="WORK", help="These works alone; may be repeated.", show_default=False)] = None,
    as_json: AsJson = False,
    recording: Annotated[
        Path | None, typer.Option(help="The document of this C3D file; without, of a synthetic one.", exists=True, dir_okay=False)
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also write report.json, report.md and pictures there.")] = None,
    database_url: Annotated[str | None, typer.Option(help="A PostgreSQL to make a database in, instead of one of its own.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="A Redis or Valkey to use a key prefix of, instead of one of its own.")] = None,
) -> None:
    r"""Measure this program beside its peers, on real servers and the same documents. Needs the extra: pip install 'emg-sessions\[bench]'.

    On servers that are given it makes a database and keys of its own and removes them at the end. A figure that misses its bar is printed
    as such and is no failure: this is a measurement. Exit code 0: it was measured; 2: wrong usage; 3: the storage failed.
    """
    from adapters.entrypoints import console
    from adapters.entrypoints.bench import command

    # Peers block the event loop and Redis is killed on purpose: the cache's warnings of that would only hide the progress.
    given: dict[str, Any] = {} if "LOG_LEVEL" in os.environ else {"log_level": "error"}
    raise typer.Exit(
        console.run(
            partial(
                command.command,
                quick=quick,
                only=only or [],
                as_json=as_json,
                recording=recording,
                output=output,
                database_url=database_url,
                redis_url=redis_url,
            ),
            **given,
        )
    )


@db.command()
def upgrade() -> None:
    """Bring the database named in DATABASE_URL up to this program's schema. Safe to repeat, and from several places at once."""
    from adapters.entrypoints import console, database

    raise typer.Exit(console.run(database.upgrade))


@cache.command()
def stats(as_json: AsJson = False) -> None:
    """Hits, misses and memory: counted over all processes since the cache began."""
    from adapters.entrypoints import cache, console

    raise typer.Exit(console.run(partial(cache.stats, as_json=as_json)))


@cache.command()
def health(as_json: AsJson = False) -> None:
    """Whether the cache answers and is in step with the database. Exit code 0: healthy; 1: it is not, and the database answers for it."""
    from adapters.entrypoints import cache, console

    raise typer.Exit(console.run(partial(cache.health, as_json=as_json)))


@cache.command(epilog="Example: emg-sessions cache warm --hours 48")
def warm(hours: Annotated[float, typer.Option(min=0.0, help="Sessions registered in the last hours.")] = 24.0) -> None:
    """Read recent sessions, so that they are in the cache when they are asked for."""
    from adapters.entrypoints import cache, console

    raise typer.Exit(console.run(partial(cache.warm, hours=hours)))


@cache.command()
def inspect(session_id: Annotated[str, typer.Argument(show_default=False)], as_json: AsJson = False) -> None:
    """Show one session's entry: version, age, remaining life, size, and who is loading it."""
    from adapters.entrypoints import cache, console

    raise typer.Exit(console.run(partial(cache.inspect, session_id=session_id, as_json=as_json)))


@cache.command(epilog="Example: emg-sessions cache invalidate --all")
def invalidate(
    session_ids: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Distrust every entry.")] = False,
) -> None:
    """Make the next read ask the database. Never needed after a write, also not after one made in psql."""
    from adapters.entrypoints import cache, console

    raise typer.Exit(console.run(partial(cache.invalidate, session_ids=session_ids or [], everything=everything)))


def main() -> None:
    """Runs the command that was typed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A file's name may be more than the terminal can show.
    for group in (app, db, cache):
        for each in group.registered_commands:
            if each.epilog is not None:
                each.epilog = as_called(each.epilog).replace("[", r"\[")
    app()
