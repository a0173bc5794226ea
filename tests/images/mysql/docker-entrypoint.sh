#!/usr/bin/env bash
# First start: make the system tables, the users, the database, run the init
# files. Every start: hand over to the server. Environment as the official image.
set -Eeo pipefail
shopt -s nullglob
. /usr/local/lib/stand-in/stand-in.sh

socket=/var/run/mysqld/mysqld.sock

# The password goes through a file descriptor: neither argv nor disk sees it.
sql() {
  mysql --defaults-extra-file=<(printf '[client]\npassword="%s"\n' "${root_now//\"/\\\"}") \
    --protocol=socket --socket="$socket" -uroot -hlocalhost --comments "$@"
}
init_file_sql() { sql ${MYSQL_DATABASE:+"--database=$MYSQL_DATABASE"}; }

refuse_without_password() {
  if [ -z "$MYSQL_ROOT_PASSWORD$MYSQL_ALLOW_EMPTY_PASSWORD$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    die 'Database is uninitialized and password option is not specified
       You need to specify one of the following as an environment variable:
       - MYSQL_ROOT_PASSWORD
       - MYSQL_ALLOW_EMPTY_PASSWORD
       - MYSQL_RANDOM_ROOT_PASSWORD'
  fi
  if [ "$MYSQL_USER" = root ]; then
    die 'MYSQL_USER="root", MYSQL_USER and MYSQL_PASSWORD are for configuring a regular user and cannot be used for the root user'
  fi
}

start_temporarily() {
  "$@" --skip-networking --mysqlx=OFF --default-time-zone=SYSTEM --socket="$socket" &
  server=$!
  local left
  for left in $(seq 900 -1 0); do
    if mysql --no-defaults --protocol=socket --socket="$socket" -uroot -e 'SELECT 1' >/dev/null 2>&1; then break; fi
    kill -0 "$server" 2>/dev/null || die 'the temporary server has stopped; see the lines above'
    sleep 0.1
  done
  [ "$left" != 0 ] || die 'the temporary server did not start within 90 s'
}

create_users() {
  if [ -n "$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    MYSQL_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
    note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
  fi
  local root_by
  root_by=$(sql_quote "$MYSQL_ROOT_PASSWORD")
  {
    echo 'SET @@SESSION.SQL_LOG_BIN=0;'
    if [ -n "$MYSQL_ROOT_HOST" ] && [ "$MYSQL_ROOT_HOST" != localhost ]; then
      echo "CREATE USER root@$(sql_quote "$MYSQL_ROOT_HOST") IDENTIFIED BY $root_by;"
      echo "GRANT ALL ON *.* TO root@$(sql_quote "$MYSQL_ROOT_HOST") WITH GRANT OPTION;"
    fi
    if [ -n "$MYSQL_DATABASE" ]; then
      echo "CREATE DATABASE IF NOT EXISTS \`${MYSQL_DATABASE//\`/\`\`}\`;"
    fi
    if [ -n "$MYSQL_USER" ] && [ -n "$MYSQL_PASSWORD" ]; then
      echo "CREATE USER $(sql_quote "$MYSQL_USER")@'%' IDENTIFIED BY $(sql_quote "$MYSQL_PASSWORD");"
      if [ -n "$MYSQL_DATABASE" ]; then
        # An underscore is a wildcard in GRANT and has to be quoted.
        local pattern=${MYSQL_DATABASE//\`/\`\`}
        echo "GRANT ALL ON \`${pattern//_/\\_}\`.* TO $(sql_quote "$MYSQL_USER")@'%';"
      fi
    fi
    # Last, because from here on this session's own login has changed.
    echo "ALTER USER root@localhost IDENTIFIED BY $root_by;"
  } | sql
  root_now=$MYSQL_ROOT_PASSWORD
}

initialise() {
  note 'Initializing database files'
  "$@" --initialize-insecure --default-time-zone=SYSTEM
  start_temporarily "$@"
  root_now=
  if [ -z "${MYSQL_INITDB_SKIP_TZINFO:-}" ] && [ -d /usr/share/zoneinfo ]; then
    mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null | sql --database=mysql >/dev/null || note 'no time zone tables'
  fi
  create_users
  run_init_files init_file_sql /docker-entrypoint-initdb.d/*
  if [ -n "${MYSQL_ONETIME_PASSWORD:-}" ]; then sql <<<"ALTER USER root@'%' PASSWORD EXPIRE;"; fi
  kill "$server"
  wait "$server" || die 'the temporary server did not stop cleanly'
}

[ "${1:0:1}" != - ] || set -- mysqld "$@"

if [ "$1" = mysqld ] && [[ " $* " != *" --help "* && " $* " != *" --version "* && " $* " != *" -V "* ]]; then
  file_env MYSQL_ROOT_HOST '%'
  for name in ROOT_PASSWORD DATABASE USER PASSWORD ALLOW_EMPTY_PASSWORD RANDOM_ROOT_PASSWORD; do file_env "MYSQL_$name"; done
  datadir=$(mysqld "${@:2}" --verbose --help 2>/dev/null | awk '$1 == "datadir" { print $2; exit }')
  datadir=${datadir:-/var/lib/mysql}
  datadir=${datadir%/}

  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$datadir" /var/run/mysqld /var/lib/mysql-files
    find "$datadir" /var/run/mysqld /var/lib/mysql-files \! -user mysql -exec chown mysql: '{}' +
    become mysql "${BASH_SOURCE[0]}" "$@"
  fi

  if [ ! -d "$datadir/mysql" ]; then
    refuse_without_password
    initialise "$@"
    note 'MySQL init process done. Ready for start up.'
  fi
  # The server has no use for them, and its environment can be read by others.
  unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
fi
exec "$@"
