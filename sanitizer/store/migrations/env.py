"""Alembic's entry: runs inside the connection and transaction that `sanitizer.store.migrate` opened."""

from alembic import context

from sanitizer.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
