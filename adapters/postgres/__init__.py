"""The truth: session analytics in PostgreSQL, over SQLAlchemy 2 Core and asyncpg."""
