#!/bin/sh
# Starts Redis as a cache. The password must not be an argument, which every process list shows, so it goes into a
# file in memory that only the server's user can read.
set -eu
conf=/run/redis/redis.conf
umask 077
cat >"$conf" <<EOF
dir /data
requirepass "$REDIS_PASSWORD"
save ""
appendonly no
maxmemory 128mb
maxmemory-policy allkeys-lru
EOF
chown -R redis:redis /run/redis
exec docker-entrypoint.sh redis-server "$conf"
