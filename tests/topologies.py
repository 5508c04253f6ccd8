"""Several Valkeys that belong together: a primary with a replica, and the sentinels that watch them; or a cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

import redis.asyncio

from adapters.embedded import EmbeddedValkey
from adapters.entrypoints.bench.ports import free_ports
from tests.patience import eventually
from tests.servers import wait_until_gone

SERVICE = "sessions"
DOWN_AFTER_MS = 500
PRIMARIES = 3
SLOTS = 16384
NODE_TIMEOUT_MS = 1000

# A server ends with whoever started it, also by kill -9: then its standard input ends.
_WATCHED = '"$@" >>"$LOG" 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null'


class Node:
    """A Valkey on a TCP port of 127.0.0.1."""

    def __init__(self, folder: Path, port: int, *arguments: str) -> None:
        folder.mkdir()
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        binary = str(EmbeddedValkey(folder)._binary())
        config = folder / "server.conf"
        config.write_text(f'bind 127.0.0.1\nport {port}\ndir "{folder}"\nlocale-collate C\nsave ""\n')
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "sh", binary, str(config), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LOG": str(folder / "log")},
        )
        self.pid = int(_pipe(self._watch.stdout).readline())

    def client(self, **options: Any) -> Any:
        """A plain client of it alone."""
        return redis.asyncio.Redis(port=self.port, socket_timeout=5, **options)

    async def answers(self) -> bool:
        """Whether it can be asked."""
        try:
            async with self.client() as client:
                return bool(await client.ping())
        except redis.exceptions.RedisError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Stops, continues or kills it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it as a crash would, and returns once it is gone."""
        self.send(signal.SIGKILL)
        wait_until_gone(self.pid)

    def close(self) -> None:
        """Ends it, if it still runs."""
        _pipe(self._watch.stdin).close()
        self._watch.wait(10)
        _pipe(self._watch.stdout).close()


@dataclass
class Watched:
    """A primary, a replica, and three sentinels of which two must agree."""

    servers: list[Node]
    sentinels: list[Node]
    stack: ExitStack

    @classmethod
    async def start(cls, folder: Path) -> Self:
        """Starts all, and returns once each knows of the others."""
        with ExitStack() as stack:
            ports = free_ports(5)

            def node(name: str, port: int, *arguments: str) -> Node:
                started = Node(folder / name, port, *arguments)
                stack.callback(started.close)
                return started

            servers = [node("primary", ports[0], "--repl-diskless-sync-delay", "0")]
            await eventually(servers[0].answers, bool)
            servers.append(node("replica", ports[1], "--replicaof", "127.0.0.1", str(ports[0])))
            sentinels = [node(f"sentinel{port}", port, "--sentinel") for port in ports[2:]]
            watched = cls(servers, sentinels, stack)
            for sentinel in sentinels:
                await eventually(sentinel.answers, bool)
                async with sentinel.client() as asked:
                    await asked.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", ports[0], 2)
                    for name, value in (("down-after-milliseconds", DOWN_AFTER_MS), ("failover-timeout", 3000)):
                        await asked.execute_command("SENTINEL", "SET", SERVICE, name, value)
            await eventually(watched.knows_all, bool, within_s=30)
            watched.stack = stack.pop_all()
            return watched

    @property
    def url(self) -> str:
        """For the cache."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{node.port}' for node in self.sentinels)}/{SERVICE}/0"

    async def knows_all(self) -> bool:
        """Whether every sentinel has met the others and the replica, and the replica has everything."""
        for sentinel in self.sentinels:
            async with sentinel.client(decode_responses=True) as asked:
                state = (await asked.sentinel_masters())[SERVICE]
            if (state["num-other-sentinels"], state["num-slaves"]) != (2, 1):
                return False
        async with self.servers[1].client() as replica:
            return bool((await replica.info("replication"))["master_link_status"] == "up")

    async def primary(self) -> Node | None:
        """Which server the sentinels name; None while they do not agree."""
        ports = set()
        for sentinel in self.sentinels:
            async with sentinel.client() as asked:
                ports.add(int((await asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE))[1]))
        return next(node for node in self.servers if node.port in ports) if len(ports) == 1 else None

    async def fail_over(self) -> None:
        """Tells the sentinels to exchange the two."""
        async with self.sentinels[0].client() as asked:
            await asked.execute_command("SENTINEL", "FAILOVER", SERVICE)


@dataclass
class Cluster:
    """Three primaries, each with a third of the slots, and perhaps a replica of each. `nodes` are the primaries of the beginning, then the
    replicas in the same order."""

    nodes: list[Node]
    ids: dict[int, str]
    stack: ExitStack

    @classmethod
    async def start(cls, folder: Path, *, replicas: bool) -> Self:
        """Starts all, and returns once each knows of the others and all slots are served."""
        with ExitStack() as stack:
            count = 2 * PRIMARIES if replicas else PRIMARIES
            taken = free_ports(2 * count)
            ports, buses = taken[:count], taken[count:]
            nodes: list[Node] = []
            for number, (port, bus) in enumerate(zip(ports, buses, strict=True)):
                options = {
                    "--cluster-enabled": "yes",
                    "--cluster-port": str(bus),
                    "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
                    "--cluster-require-full-coverage": "no",
                    "--cluster-replica-validity-factor": "0",
                    "--cluster-migration-barrier": "10",
                    "--repl-diskless-sync-delay": "0",
                }
                nodes.append(Node(folder / f"node{number}", port, *(part for option in options.items() for part in option)))
                stack.callback(nodes[-1].close)
            cluster = cls(nodes, {}, stack)
            for number, node in enumerate(nodes):
                await eventually(node.answers, bool)
                async with node.client(decode_responses=True) as client:
                    cluster.ids[node.port] = await client.execute_command("CLUSTER", "MYID")
                    await client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                    if number < PRIMARIES:
                        first, last = (part * SLOTS // PRIMARIES for part in (number, number + 1))
                        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
                    if number:
                        await client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], buses[0])
            await eventually(cluster.agreed, bool, within_s=30)
            for primary, replica in zip(nodes, nodes[PRIMARIES:], strict=False):
                async with replica.client() as client:
                    await eventually(partial(_replicates, client, cluster.ids[primary.port]), bool)
            await eventually(cluster.agreed, bool, within_s=30)
            cluster.stack = stack.pop_all()
            return cluster

    @property
    def url(self) -> str:
        """For the cache."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:PRIMARIES])}"

    async def agreed(self) -> bool:
        """Whether every node that runs knows all the others, sees all slots served, and has what its primary has."""
        for node in self.nodes:
            async with node.client(decode_responses=True) as client:
                info = await client.execute_command("CLUSTER", "INFO")
                state = dict(line.split(":") for line in info.splitlines() if ":" in line) if isinstance(info, str) else info
                replication = await client.info("replication")
            known, served = int(state["cluster_known_nodes"]), int(state["cluster_slots_ok"])
            if (state["cluster_state"], known, served) != ("ok", len(self.nodes), SLOTS):
                return False
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
        return True

    async def owner(self, slot: int, *, asked: Node) -> Node | None:
        """Who has a slot, as one node sees it."""
        async with asked.client() as client:
            for first, last, (_, port, *_), *_ in await client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        return None

    async def move(self, slot: int, source: Node, target: Node) -> None:
        """A slot with all its keys, one after the other, as redis-cli --cluster reshard does."""
        async with source.client() as there, target.client() as here:
            await here.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source.port])
            await there.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target.port])
            while names := await there.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 2):
                await there.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
                await asyncio.sleep(0.02)
            for client in (here, there):
                await client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target.port])

    async def move_at_once(self, slot: int, source: Node, target: Node) -> None:
        """As Valkey 9 does it: the keys are copied meanwhile, and change hands in one moment."""
        async with source.client() as there:
            await there.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.ids[target.port])

        async def owner() -> Node | None:
            return await self.owner(slot, asked=source)

        await eventually(owner, lambda node: node is target, within_s=20)


async def _replicates(client: Any, primary: str) -> bool:
    try:
        await client.execute_command("CLUSTER", "REPLICATE", primary)
    except redis.exceptions.ResponseError:  # It has not heard of it yet.
        return False
    return True


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
