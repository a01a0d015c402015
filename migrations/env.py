"""
What Alembic runs to migrate: the connection of `storage.migrate`, inside its transaction.

There is no ini file; `storage.migrate` is the way in. A new revision is a new file in `versions/`, numbered one up from
the last: it must suit the version of the service that still runs while it is applied, and have a way down.
"""

from alembic import context

from storage.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's as well: the engine sends BEGIN itself
)
context.run_migrations()
