#!/bin/sh
# Starts Redis with a configuration made from the environment. The password must not be an argument, which every
# process list shows, so it goes into a file in memory that only the server's user can read.
set -eu
conf=/run/redis/redis.conf
umask 077
cat >"$conf" <<EOF
dir /data
requirepass "$REDIS_PASSWORD"
appendonly yes
appendfsync everysec
maxmemory ${REDIS_MAXMEMORY:-0}
maxmemory-policy ${REDIS_MAXMEMORY_POLICY:-noeviction}
EOF
chown -R redis:redis /run/redis
exec docker-entrypoint.sh redis-server "$conf"
