#!/usr/bin/env bash
# First start: make the cluster, the user, the database, run the init files.
# Every start: hand over to the server. Same environment as the official image.
set -Eeo pipefail
. /usr/local/lib/stand-in/stand-in.sh

sql() { psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -U "$POSTGRES_USER" -d "${1:-$POSTGRES_DB}" "${@:2}"; }
init_file_sql() { sql "$POSTGRES_DB"; }

prepare_directories() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 00700 "$PGDATA" || true
  chmod 03775 /var/run/postgresql || true
  if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
    mkdir -p "$POSTGRES_INITDB_WALDIR"
    chmod 700 "$POSTGRES_INITDB_WALDIR"
  fi
  if [ "$(id -u)" = 0 ]; then
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
      find "$POSTGRES_INITDB_WALDIR" \! -user postgres -exec chown postgres '{}' +
    fi
  fi
}

refuse_without_password() {
  if [ -z "$POSTGRES_PASSWORD" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    die "database is uninitialized and superuser password is not specified.
       set POSTGRES_PASSWORD to a non-empty value for the superuser,
       or POSTGRES_HOST_AUTH_METHOD=trust to let everyone in without one"
  fi
}

initialise() {
  local args=()
  [ -z "${POSTGRES_INITDB_WALDIR:-}" ] || args+=(--waldir "$POSTGRES_INITDB_WALDIR")
  # The password goes through a file descriptor: neither argv nor disk sees it.
  eval "initdb --username=\"\$POSTGRES_USER\" --pwfile=<(printf '%s\n' \"\$POSTGRES_PASSWORD\") \
    $POSTGRES_INITDB_ARGS \"\${args[@]}\""

  local method=${POSTGRES_HOST_AUTH_METHOD:-}
  [ -n "$method" ] || method=$(postgres -C password_encryption)
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # Only the socket, so that nobody is served before the init files have run.
  set -- "${@:2}" -c listen_addresses='' -p 5432
  PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -w -t 120 -o "$(printf '%q ' "$@")" start
  local PGPASSWORD=$POSTGRES_PASSWORD
  export PGPASSWORD PGHOST=
  if [ "$POSTGRES_DB" != postgres ]; then
    sql postgres -v db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";' >/dev/null
  fi
  run_init_files init_file_sql /docker-entrypoint-initdb.d/*
  PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD PGHOST
}

[ "${1:0:1}" != - ] || set -- postgres "$@"

if [ "$1" = postgres ] && [[ " $* " != *" --help "* && " $* " != *" --version "* && " $* " != *" -V "* ]]; then
  file_env POSTGRES_PASSWORD
  file_env POSTGRES_USER postgres
  file_env POSTGRES_DB "$POSTGRES_USER"
  file_env POSTGRES_INITDB_ARGS
  prepare_directories
  [ "$(id -u)" != 0 ] || become postgres "${BASH_SOURCE[0]}" "$@"

  if [ -s "$PGDATA/PG_VERSION" ]; then
    note 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
  else
    refuse_without_password
    initialise "$@"
    note 'PostgreSQL init process complete; ready for start up.'
  fi
fi
exec "$@"
