"""A real PostgreSQL and a real Valkey, from wheels, for a machine that has neither.

    with EmbeddedPostgres(data_dir) as database_url, EmbeddedValkey(data_dir) as redis_url:
        ...

Everything blocks: an asyncio program calls open() and close() in a thread. A data folder is shared by all its users, in this process and
in others: the first to come starts the server, the last to leave stops it, and the data stay for the next. Two flocks decide, because the
kernel drops them with the process that held them, however it ended:

    <data_dir>/<server>/start.lock   exclusive, while a server is looked for, started or stopped; awaited for a bounded time
    <data_dir>/<server>/users.lock   shared, by everybody who uses the server; who gets it exclusively was the last

No list of users is kept anywhere, so none can be wrong. A server whose last user was killed is stopped by the process that watches it
(watch.py), within seconds; a user who comes earlier finds it: by its command line and its owner, since a pid from a file may belong to
anybody by now. Whether it works is asked at its socket, in its own
protocol. The wheels' own lifecycle classes are not used: one ends its server with the process that started it, the other believes a list of
pids.
"""

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.embedded.server import EmbeddedServer, Patience
from adapters.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedServer", "EmbeddedValkey", "Patience"]
