#!/usr/bin/env bash
# As the official one: content belongs to user node, who runs the program.
set -e
. /usr/local/lib/stand-in/stand-in.sh
if [[ "$*" == node*current/index.js* ]] && [ "$(id -u)" = 0 ]; then
  find "$GHOST_CONTENT" \! -user node -exec chown node '{}' +
  become node "${BASH_SOURCE[0]}" "$@"
fi
if [[ "$*" == node*current/index.js* ]]; then
  for folder in apps data files images logs media public settings themes; do mkdir -p "$GHOST_CONTENT/$folder"; done
fi
exec "$@"
