#!/usr/bin/env bash
# Hands over to redis-server as user redis. Options and *.conf are its arguments.
set -e
. /usr/local/lib/stand-in/stand-in.sh

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi

if [ "$1" = redis-server ]; then
  # The official image is compiled with the protected mode off, because every
  # client of a container is a stranger; Debian's is not.
  case " $* " in
    *" --protected-mode "*) ;;
    *)
      if [ ! -f "${2:-}" ] || ! grep -qi '^[[:space:]]*protected-mode' "$2"; then set -- "$@" --protected-mode no; fi
      ;;
  esac
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    become redis "${BASH_SOURCE[0]}" "$@"
  fi
  [ "$(umask)" != 0022 ] || umask 0077
fi
exec "$@"
