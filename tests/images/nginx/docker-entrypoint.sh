#!/bin/sh
# Before nginx itself: templates of /etc/nginx/templates are filled in from the
# environment, and the scripts of /docker-entrypoint.d are run, in order.
set -e

log() { [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"; }

fill_in_templates() {
  from=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
  to=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
  suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
  [ -d "$from" ] || return 0
  # Only variables that are set: nginx's own $host and the like stay as they are.
  known=$(awk -v filter="${NGINX_ENVSUBST_FILTER:-}" \
    'BEGIN { for (name in ENVIRON) if (name ~ filter && name ~ /^[A-Za-z_][A-Za-z0-9_]*$/) printf "${%s} ", name }')
  find "$from" -follow -type f -name "*$suffix" | while read -r template; do
    name=${template#"$from/"}
    target=$to/${name%"$suffix"}
    mkdir -p "$(dirname "$target")"
    log "envsubst on $template to $target"
    envsubst "$known" <"$template" >"$target"
  done
}

case $1 in
  nginx | nginx-debug)
    fill_in_templates
    # shellcheck disable=SC1090 # whatever the user has mounted
    find /docker-entrypoint.d -follow -type f 2>/dev/null | sort -V | while read -r file; do
      case $file in
        *.envsh) if [ -x "$file" ]; then log "sourcing $file"; . "$file"; fi ;;
        *.sh) if [ -x "$file" ]; then log "launching $file"; "$file"; else log "ignoring $file, not executable"; fi ;;
        *) log "ignoring $file" ;;
      esac
    done
    log 'configuration complete; ready for start up'
    ;;
esac
exec "$@"
