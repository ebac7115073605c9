#!/bin/bash
set -euo pipefail

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}

create_cluster() {
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo >&2 "POSTGRES_PASSWORD must be set unless POSTGRES_HOST_AUTH_METHOD is trust"
        exit 1
    fi
    # Word splitting is meant: the variable holds several arguments.
    # shellcheck disable=SC2086
    initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-}") ${POSTGRES_INITDB_ARGS:-}
    printf 'host all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        # The server is not started for this: nobody may take the cluster for ready before it is.
        printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -j -D "$PGDATA" postgres >/dev/null
    fi
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "$1" != postgres ]; then exec "$@"; fi

mkdir -p "$PGDATA"
if [ "$(id -u)" = 0 ]; then
    chown -R postgres:postgres /var/lib/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then create_cluster; fi
exec "$@" -c "listen_addresses=*"
