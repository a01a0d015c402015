"""
What Alembic runs to migrate: the connection of `storage.migrate`, inside its transaction.

There is no ini file; `storage.migrate` is the way in. A new revision is a new file in `versions/`, numbered one up from
the last, with a way down. It must suit the version before it, whose copies still run, and may be restarted, after
`migrate up`: so it adds, with defaults, and drops only what that version did not use any more. It then sets
`store.usable_from` to the oldest revision whose code it still suits.
"""

from alembic import context

from storage.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's as well: the engine sends BEGIN itself
)
context.run_migrations()
