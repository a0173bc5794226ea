#!/usr/bin/env bash
# First start: make the cluster, the root user, run the init files without authentication and on the
# loopback only. Every start: the engine on a socket, the gateway on port 27017. Same environment as
# the official `mongo` image.
set -Eeuo pipefail
. /usr/local/lib/stand-in/stand-in.sh

[ "${1:0:1}" != - ] || set -- mongod "$@"
[ "$1" = mongod ] || exec "$@"

export PGDATA=/data/db/documentdb PGHOST=/data/db/socket PGUSER=engine PGDATABASE=postgres

if [ "$(id -u)" = 0 ]; then
  find /data/db \! -user mongodb -exec chown mongodb '{}' +
  become mongodb "${BASH_SOURCE[0]}" "$@"
fi

port=27017 authentication=no
note 'STAND-IN: this is not MongoDB, but DocumentDB behind a gateway for tests'
shift
while [ $# -gt 0 ]; do
  case $1 in
    --auth) authentication=yes ;;
    --noauth | --quiet | --bind_ip_all | --ipv6) ;;
    --port) port=$2 && shift ;;
    --replSet | --replSet=* | --shardsvr | --configsvr | --keyFile | --keyFile=*)
      die "$1: the stand-in is a single server, no replica set" ;;
    --*=*) note "ignoring $1" ;;
    --*) note "ignoring $1 ${2:-}" && shift ;;
    *) die "mongod: unknown argument $1" ;;
  esac
  shift
done

file_env MONGO_INITDB_ROOT_USERNAME
file_env MONGO_INITDB_ROOT_PASSWORD
if [ "${MONGO_INITDB_ROOT_USERNAME:+given}" != "${MONGO_INITDB_ROOT_PASSWORD:+given}" ]; then
  die "missing 'MONGO_INITDB_ROOT_USERNAME' or 'MONGO_INITDB_ROOT_PASSWORD'
       both must be specified for a user to be created"
fi
if [ -n "$MONGO_INITDB_ROOT_USERNAME" ]; then authentication=yes; fi

gateway=
# gateway ADDRESS AUTHENTICATION: starts it, waits until it listens.
start_gateway() {
  GATEWAY_ADDRESS=$1 GATEWAY_PORT=$port GATEWAY_AUTHENTICATION=$2 python3 /usr/local/lib/mongo/gateway.py &
  gateway=$!
  local try
  for try in $(seq 200); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
    kill -0 "$gateway" 2>/dev/null || die "the gateway has ended (attempt $try)"
    sleep 0.05
  done
  die "the gateway does not listen on $port"
}
stop_gateway() {
  kill "$gateway"
  wait "$gateway" || true
}
start_engine() { pg_ctl -w -t 120 -l /data/db/engine.log start >/dev/null || die "$(tail -n 5 /data/db/engine.log)"; }

finish() {
  trap '' TERM INT
  [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
  pg_ctl -m fast -w stop >/dev/null
  exit 0
}

mkdir -p "$PGHOST"
chmod 700 "$PGHOST"
if [ ! -e "$PGDATA/ready" ]; then
  # What an interrupted first start has left is of no use to anybody.
  rm -rf "$PGDATA"
  initdb --username=engine --auth=trust --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  # DocumentDB itself connects to the loopback.
  printf '%s\n' "shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'" "cron.database_name = 'postgres'" \
    "listen_addresses = 'localhost'" "unix_socket_directories = '$PGHOST'" 'jit = off' 'max_connections = 200' >>"$PGDATA/postgresql.conf"
  start_engine
  psql -q -v ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION documentdb CASCADE;
CREATE SCHEMA stand_in;
CREATE TABLE stand_in.users (name text, db text, roles jsonb, PRIMARY KEY (name, db));
SQL
  start_gateway 127.0.0.1 no
  init=(mongosh --host 127.0.0.1 --port "$port" --quiet)
  if [ -n "$MONGO_INITDB_ROOT_USERNAME" ]; then
    "${init[@]}" admin --eval 'db.createUser({user: process.env.MONGO_INITDB_ROOT_USERNAME,
      pwd: process.env.MONGO_INITDB_ROOT_PASSWORD, roles: [{role: "root", db: "admin"}]})' >/dev/null
  fi
  export MONGO_INITDB_DATABASE=${MONGO_INITDB_DATABASE:-test}
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh)
        note "running $file"
        # shellcheck disable=SC1090
        . "$file"
        ;;
      *.js) note "running $file" && "${init[@]}" "$MONGO_INITDB_DATABASE" "$file" ;;
      */\*) ;;
      *) note "ignoring $file" ;;
    esac
  done
  stop_gateway
  touch "$PGDATA/ready"
  note 'MongoDB init process complete; ready for start up.'
else
  # A container that was killed has left it, and its number may be ours by now.
  rm -f "$PGDATA/postmaster.pid"
  start_engine
fi
start_gateway 0.0.0.0 "$authentication"
trap finish TERM INT
note "Waiting for connections on port $port"
wait "$gateway" || true
pg_ctl -m fast -w stop >/dev/null
die 'the gateway has ended'
