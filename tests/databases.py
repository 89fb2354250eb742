"""PostgreSQL databases for tests, each as good as new: a database that a test is done with is emptied for the next one.

Emptying costs a tenth of the processor time of CREATE DATABASE and DROP DATABASE. A database whose definition a test
changed, or that cannot be emptied, is dropped instead.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection, sql
from sqlalchemy import make_url

_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
_WRITTEN = (  # a table that never held a row has no size
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    " AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0"
)
_DEFINITION = """
SELECT 'relation', relname, relkind::text, relpersistence::text, relchecks::text, relhasrules::text, relrowsecurity::text,
       array_to_string(reloptions, ' ')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i'
UNION ALL
SELECT 'column', attrelid::regclass::text, attnum::text, attname, atttypid::regtype::text, attnotnull::text, attidentity::text,
       attisdropped::text
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'default', adrelid::regclass::text, adnum::text, pg_get_expr(adbin, adrelid), '', '', '', '' FROM pg_attrdef
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid::text, '', '', '', ''
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated::text, '', '', ''
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, '', '', '', '' FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, '', '', '', '', '', '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'schema', nspname, '', '', '', '', '', '' FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL
SELECT 'type', typname, typtype::text, '', '', '', '', '' FROM pg_type WHERE typnamespace = 'public'::regnamespace
UNION ALL
SELECT 'extension', extname, '', '', '', '', '', '' FROM pg_extension
UNION ALL
SELECT 'setting', setrole::text, array_to_string(setconfig, ' '), '', '', '', '', '' FROM pg_db_role_setting
UNION ALL
SELECT 'database', datallowconn::text, datconnlimit::text, '', '', '', '', '' FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'migration', version_num, '', '', '', '', '', '' FROM alembic_version
ORDER BY 1, 2, 3, 4
"""

Definition = list[tuple[str, ...]]


class Databases:
    """Databases made from one template that has all tables; at most as many exist as were used at the same time."""

    def __init__(self, server: str, template: str) -> None:
        self._server, self._template = server, template
        self._idle: list[_Database] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database that has all tables, no rows, and nobody connected to it."""
        database = self._idle.pop() if self._idle else _Database(self._server, self._template)
        yield database.url
        if database.made_as_new():
            self._idle.append(database)
        else:
            database.drop()

    def close(self) -> None:
        """Ends the connections kept to idle databases; the databases go with their server."""
        for database in self._idle:
            database.close()


class _Database:
    """One database, and the connection that empties it."""

    def __init__(self, server: str, template: str) -> None:
        self._server, self._name = server, new_name()
        execute(server, f"CREATE DATABASE {self._name} TEMPLATE {template}")
        self.url = at(server, self._name)
        self._connection: Connection = connect(self.url)
        self._connection.execute("SET lock_timeout = '5s'")
        self._definition = self._present_definition()

    def made_as_new(self) -> bool:
        """Ends what still uses it and removes every row; False where that does not make it what it was at first."""
        try:
            self._connection.execute(_END_SESSIONS, [self._name])
            if written := [sql.Identifier(row[0]) for row in self._connection.execute(_WRITTEN)]:
                self._connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(written)))
            return self._present_definition() == self._definition
        except psycopg.Error:  # a test ended this connection too, or dropped what is asked for
            return False

    def drop(self) -> None:
        self.close()
        execute(self._server, f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    def close(self) -> None:
        self._connection.close()

    def _present_definition(self) -> Definition:
        return self._connection.execute(_DEFINITION).fetchall()


def new_name() -> str:
    return f"test_{uuid.uuid4().hex}"


def at(server: str, name: str) -> str:
    """The URL of the database of this name on the server."""
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def connect(url: str) -> Connection:
    """A connection of the driver alone, without a transaction."""
    return psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True)


def execute(url: str, statement: str) -> None:
    """Runs one statement outside a transaction, as CREATE DATABASE wants it."""
    with connect(url) as connection:
        connection.execute(statement)
