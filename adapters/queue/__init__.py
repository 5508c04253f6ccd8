"""The durable queue of recordings that wait to be processed: procrastinate, in the PostgreSQL that holds everything else."""
