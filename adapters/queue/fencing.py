"""Jobs whose worker counts as dead, and workers that count as dead and are not.

procrastinate lets whoever knows a job's id finish it. A worker that was frozen, and whose job has been given to another meanwhile, would so
end the other's job when it thaws. Here a worker finishes a job only while it is its own: the same worker, in the same attempt.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import structlog
from procrastinate import jobs, manager
from procrastinate.connector import BaseConnector

from adapters.queue.jobs import QUEUE

_FINISH: Final = """
WITH own AS (
  SELECT id FROM procrastinate_jobs
  WHERE id = %(job_id)s AND status = 'doing' AND worker_id = %(worker_id)s AND attempts = %(attempts)s FOR UPDATE
)
SELECT own.id, procrastinate_finish_job_v1(own.id, %(status)s::procrastinate_job_status, %(delete_job)s) FROM own
"""
_TRY_AGAIN: Final = """
WITH own AS (
  SELECT id FROM procrastinate_jobs
  WHERE id = %(job_id)s AND status = 'doing' AND worker_id = %(worker_id)s AND attempts = %(attempts)s FOR UPDATE
)
SELECT own.id, procrastinate_retry_job_v2(own.id, %(retry_at)s, NULL, NULL, NULL) FROM own
"""

# In one statement, so that of several workers that notice a death one puts the job back, once. procrastinate's own way, a query for stalled
# jobs and then a retry by id, could put back a job that another had put back and a third had begun.
_RESCUE: Final = """
WITH stalled AS (
  SELECT job.id FROM procrastinate_jobs job LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
  WHERE job.status = 'doing'
    AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %(stalled_s)s))
  FOR UPDATE OF job SKIP LOCKED
)
SELECT job.id, job.args ->> 'session_id' AS session_id, job.attempts, procrastinate_retry_job_v2(job.id, now(), NULL, NULL, NULL)
FROM stalled JOIN procrastinate_jobs job USING (id)
"""
_OWN_JOBS: Final = """
SELECT EXISTS (SELECT FROM procrastinate_workers WHERE id = %(worker_id)s) AS alive,
       ARRAY(SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = %(worker_id)s AND queue_name = %(queue)s) AS jobs
"""
_RELEASE: Final = """
WITH own AS (
  SELECT id FROM procrastinate_jobs WHERE id = ANY(%(jobs)s) AND status = 'doing' AND worker_id = %(worker_id)s FOR UPDATE
)
SELECT own.id, procrastinate_retry_job_v2(own.id, now(), NULL, NULL, NULL) FROM own
"""

_log = structlog.get_logger(__name__)


class FencedJobManager(manager.JobManager):
    """procrastinate's manager of jobs, with fences."""

    def __init__(self, connector: BaseConnector) -> None:
        super().__init__(connector)
        self._unowned: set[int] = set()

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:
        """Ends a job if it is still its worker's."""
        finished = await self.connector.execute_query_all_async(_FINISH, **_fence(job), status=status.value, delete_job=delete_job)
        _note_if_taken_over(job, finished)

    async def retry_job(
        self,
        job: jobs.Job,
        retry_at: datetime | None = None,
        priority: int | None = None,  # noqa: ARG002 - a retry changes nothing but the time
        queue: str | None = None,  # noqa: ARG002
        lock: str | None = None,  # noqa: ARG002
    ) -> None:
        """Puts a job back if it is still its worker's."""
        put_back = await self.connector.execute_query_all_async(_TRY_AGAIN, **_fence(job), retry_at=retry_at or datetime.now(UTC))
        _note_if_taken_over(job, put_back)

    async def rescue_stalled(self, stalled_s: float) -> int:
        """Puts back the jobs of workers that gave no sign of life for so long, or are gone; how many there were."""
        rescued = await self.connector.execute_query_all_async(_RESCUE, stalled_s=stalled_s)
        for row in rescued:
            _log.warning("job_rescued", session_id=row["session_id"], attempts=row["attempts"] + 1)
        return len(rescued)

    async def release_unowned(self, worker_id: int, running: set[int]) -> bool:
        """Puts back jobs that are this worker's and that it is not running: their end could not be written. False if the worker itself
        counts as dead.

        A job that has just been fetched, or is just being ended, is not running either; so only what is found so twice is put back.
        """
        row = await self.connector.execute_query_one_async(_OWN_JOBS, worker_id=worker_id, queue=QUEUE)
        unowned = set(row["jobs"]) - running
        if abandoned := unowned & self._unowned:
            await self.connector.execute_query_all_async(_RELEASE, worker_id=worker_id, jobs=sorted(abandoned))
            _log.warning("jobs_released", jobs=len(abandoned))
        self._unowned = unowned
        return bool(row["alive"])


def _fence(job: jobs.Job) -> dict[str, int | None]:
    return {"job_id": job.id, "worker_id": job.worker_id, "attempts": job.attempts}


def _note_if_taken_over(job: jobs.Job, rows: list[dict[str, object]]) -> None:
    if not rows:
        _log.warning("job_was_taken_over", session_id=job.task_kwargs.get("session_id"))
