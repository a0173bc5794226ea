#!/bin/sh
# Puts our hook in its place as an executable file, then hands over to the image's own entry point.
set -eu
mkdir -p /docker-entrypoint-hooks.d/before-starting
install -m 0755 /summoner/hosts.sh /docker-entrypoint-hooks.d/before-starting/10-hosts.sh
exec /entrypoint.sh "$@"
