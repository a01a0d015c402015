"""
A seeded simulation: hosts on one database and one Redis, every interleaving and every fault chosen by a number.

The product's own code runs against a real SQLite file, or every twentieth seed a real PostgreSQL, and a real valkey.
Only time, randomness and the choice of the thread that runs next come from the seed, so a seed that fails is replayed
by its number: `python -m tests.simulation --seed N --trace`.

- `scheduler`: tasks instead of threads, of which exactly one runs; simulated time.
- `primitives`: what the product imports as `time`, `threading`, `secrets`, `random`, `fcntl` and `os`.
- `drivers`: the calls of sqlite3 and redis-py, where a task may be switched, fail, or its host be killed.
- `postgres`: the same for psycopg; a statement that waits for a lock waits in simulated time.
- `hosts`: the product. The only module here that names its parts.
- `clients`, `ledger`: writes and reads, and whether every answer is right.
- `weather`: the faults.
- `run`: one seed from the beginning to rest.
"""
