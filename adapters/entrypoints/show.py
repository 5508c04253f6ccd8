"""`emg-sessions show`: one session's analytics, and who answered for them."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.markup import escape

from adapters import document
from adapters.entrypoints.console import ExitCode, err, fail, out
from adapters.entrypoints.tables import ESTIMATED_NOTE, any_estimated, channel_table, criteria_of_good, percent
from adapters.settings import Settings
from container import Container, resolve
from domain.ports import AnalyticsAnswer, Freshness
from domain.session import parse_session_id


async def command(app: Container, _: Settings, *, session_id: str, as_json: bool, fresh: bool) -> ExitCode:
    """The whole command."""
    wanted = parse_session_id(session_id)
    repository = await resolve(app.session_analytics)
    begin = time.perf_counter()
    answer = await repository.get(wanted, freshness=Freshness.FRESH if fresh else Freshness.BOUNDED)
    took_ms = (time.perf_counter() - begin) * 1000
    if answer is None:
        registered = await (await resolve(app.session_registry)).find(wanted)
        if registered is not None:
            fail(f"{registered.file_name} is registered, but has no analytics (any more); process it again", ExitCode.SOME_FAILED)
        fail(f"there is no session {wanted}; emg-sessions process PATH makes some", ExitCode.SOME_FAILED)
    line = _who_answered(answer, took_ms)
    if as_json:
        err.print(line)
        sys.stdout.buffer.write(document.encode(answer.analytics) + b"\n")
        sys.stdout.buffer.flush()
        return ExitCode.OK
    analytics = answer.analytics
    recorded = "" if analytics.recording.recorded_at is None else f", recorded {analytics.recording.recorded_at:%Y-%m-%d %H:%M} local time"
    out.print(f"[bold]{escape(analytics.recording.file_name)}[/]  {analytics.recording.duration_s:.1f} s{recorded}", soft_wrap=True)
    out.print(channel_table(analytics))
    for channel in analytics.channels:
        for problem in channel.problems:
            out.print(f"[yellow]{escape(channel.name)}:[/] {escape(problem)}", soft_wrap=True)
    out.print(f"overall compliance {percent(analytics.summary.overall_compliance)} (mean over channels)")
    out.print(criteria_of_good(analytics.parameters))
    if any_estimated(analytics):
        out.print(f"[dim]{ESTIMATED_NOTE}[/]")
    out.print(line)
    return ExitCode.OK


def _who_answered(answer: AnalyticsAnswer, took_ms: float) -> str:
    age = "read just now" if answer.age_s < 1 else f"cached {timedelta(seconds=round(answer.age_s))} ago"
    return f"answered by [bold]{answer.source}[/] in {took_ms:.2f} ms, version {answer.version}, {age}"
