#!/usr/bin/env bash
# First start: make the system tables, the users, the database, run the init
# files. Same environment as the official image, MARIADB_* before MYSQL_*.
set -Eeo pipefail
shopt -s nullglob
. /usr/local/lib/stand-in/stand-in.sh

socket=/run/mysqld/mysqld.sock

# either NAME [DEFAULT]: MARIADB_NAME, else the MYSQL_NAME that older set-ups use.
either() {
  file_env "MYSQL_$1"
  local old="MYSQL_$1"
  file_env "MARIADB_$1" "${!old:-${2:-}}"
}

sql() { MYSQL_PWD=${root_now:-} mariadb --protocol=socket --socket="$socket" -uroot -hlocalhost --comments "$@"; }
init_file_sql() { sql ${MARIADB_DATABASE:+"--database=$MARIADB_DATABASE"}; }

refuse_without_password() {
  if [ -z "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
    die 'database is uninitialized and password option is not specified.
       You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_HASH,
       MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD'
  fi
  if [ "$MARIADB_USER" = root ]; then
    die 'MARIADB_USER="root", MARIADB_USER and MARIADB_PASSWORD are for configuring a regular user and cannot be used for the root user'
  fi
}

start_temporarily() {
  "$@" --skip-networking --socket="$socket" --wsrep_on=OFF --expire-logs-days=0 --skip-slave-start \
    --loose-innodb_buffer_pool_load_at_startup=0 &
  server=$!
  local left
  for left in $(seq 600 -1 0); do
    if mariadb --no-defaults --protocol=socket --socket="$socket" -uroot -e 'SELECT 1' >/dev/null 2>&1; then break; fi
    kill -0 "$server" 2>/dev/null || die 'the temporary server has stopped; see the lines above'
    sleep 0.1
  done
  [ "$left" != 0 ] || die 'the temporary server did not start within 60 s'
}

create_users() {
  if [ -n "$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
    MARIADB_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
    note "GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
  fi
  local root_by app_by
  if [ -n "$MARIADB_ROOT_PASSWORD_HASH" ]; then
    root_by="PASSWORD $(sql_quote "$MARIADB_ROOT_PASSWORD_HASH")"
  else
    root_by=$(sql_quote "$MARIADB_ROOT_PASSWORD")
  fi
  {
    echo 'SET @@SESSION.SQL_LOG_BIN=0;'
    echo "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';"
    echo "EXECUTE IMMEDIATE CONCAT('DROP USER IF EXISTS root@', QUOTE(@@hostname));"
    if [ -n "$MARIADB_ROOT_HOST" ] && [ "$MARIADB_ROOT_HOST" != localhost ]; then
      echo "CREATE USER root@$(sql_quote "$MARIADB_ROOT_HOST") IDENTIFIED BY $root_by;"
      echo "GRANT ALL ON *.* TO root@$(sql_quote "$MARIADB_ROOT_HOST") WITH GRANT OPTION;"
    fi
    # What the health check logs in as; it may do nothing but connect and look.
    local health
    health=$(head -c 24 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
    for host in 127.0.0.1 ::1 localhost; do
      echo "CREATE USER IF NOT EXISTS healthcheck@'$host' IDENTIFIED BY '$health';"
      echo "GRANT USAGE ON *.* TO healthcheck@'$host';"
    done
    printf '[mariadb-client]\nport=3306\nsocket=%s\nuser=healthcheck\npassword=%s\n' "$socket" "$health" >"$datadir/.my-healthcheck.cnf"
    chmod 600 "$datadir/.my-healthcheck.cnf"
    if [ -n "$MARIADB_DATABASE" ]; then
      echo "CREATE DATABASE IF NOT EXISTS \`${MARIADB_DATABASE//\`/\`\`}\`;"
    fi
    if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ]; then
      if [ -n "$MARIADB_PASSWORD_HASH" ]; then
        app_by="PASSWORD $(sql_quote "$MARIADB_PASSWORD_HASH")"
      else
        app_by=$(sql_quote "$MARIADB_PASSWORD")
      fi
      echo "CREATE USER $(sql_quote "$MARIADB_USER")@'%' IDENTIFIED BY $app_by;"
      if [ -n "$MARIADB_DATABASE" ]; then
        # An underscore is a wildcard in GRANT and has to be quoted.
        local pattern=${MARIADB_DATABASE//\`/\`\`}
        echo "GRANT ALL ON \`${pattern//_/\\_}\`.* TO $(sql_quote "$MARIADB_USER")@'%';"
      fi
    fi
    # Last, because from here on this session's own login has changed.
    echo "ALTER USER root@localhost IDENTIFIED BY $root_by;"
  } | sql --binary-mode
  root_now=$MARIADB_ROOT_PASSWORD
}

initialise() {
  note 'Initializing database files'
  mariadb-install-db --datadir="$datadir" --rpm --auth-root-authentication-method=normal --skip-test-db \
    --old-mode=UTF8_IS_UTF8MB3 --default-time-zone=SYSTEM --enforce-storage-engine= \
    --loose-innodb_buffer_pool_load_at_startup=0 --loose-innodb_buffer_pool_dump_at_shutdown=0 >/dev/null
  start_temporarily "$@"
  if [ -z "$MARIADB_INITDB_SKIP_TZINFO" ]; then
    mariadb-tzinfo-to-sql /usr/share/zoneinfo 2>/dev/null | sql --database=mysql >/dev/null || note 'no time zone tables'
  fi
  create_users
  run_init_files init_file_sql /docker-entrypoint-initdb.d/*
  kill "$server"
  wait "$server" || die 'the temporary server did not stop cleanly'
}

[ "${1:0:1}" != - ] || set -- mariadbd "$@"
case $1 in mysqld) set -- mariadbd "${@:2}" ;; esac

if [ "$1" = mariadbd ] && [[ " $* " != *" --help "* && " $* " != *" --version "* && " $* " != *" -V "* ]]; then
  for name in ROOT_PASSWORD DATABASE USER PASSWORD INITDB_SKIP_TZINFO; do either "$name"; done
  either ROOT_HOST '%'
  either RANDOM_ROOT_PASSWORD
  file_env MARIADB_ROOT_PASSWORD_HASH
  file_env MARIADB_PASSWORD_HASH
  file_env MYSQL_ALLOW_EMPTY_PASSWORD
  file_env MARIADB_ALLOW_EMPTY_ROOT_PASSWORD "$MYSQL_ALLOW_EMPTY_PASSWORD"
  datadir=$(mariadbd "${@:2}" --verbose --help 2>/dev/null | awk '$1 == "datadir" { print $2; exit }')
  datadir=${datadir:-/var/lib/mysql}
  datadir=${datadir%/}

  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$datadir" /run/mysqld
    find "$datadir" /run/mysqld \! -user mysql -exec chown mysql: '{}' +
    become mysql "${BASH_SOURCE[0]}" "$@"
  fi

  if [ -d "$datadir/mysql" ]; then
    if [ -n "${MARIADB_AUTO_UPGRADE:-}" ]; then note 'MARIADB_AUTO_UPGRADE: nothing to do in this stand-in'; fi
  else
    refuse_without_password
    initialise "$@"
    note 'MariaDB init process done. Ready for start up.'
  fi
  # The server has no use for them, and its environment can be read by others.
  unset MARIADB_ROOT_PASSWORD MARIADB_PASSWORD MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
fi
exec "$@"
