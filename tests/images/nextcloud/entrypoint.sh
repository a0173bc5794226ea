#!/usr/bin/env bash
# The order of the official entry point: copy the code, install, upgrade, run the
# hooks, start Apache. Every check names the setting that a template forgot.
set -eo pipefail
. /usr/local/lib/stand-in/stand-in.sh

as_web() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=www-data --regid=www-data --init-groups -- "$@"; else "$@"; fi; }
mounted() { awk -v at="$1" '$5 == at { found = 1 } END { exit !found }' /proc/self/mountinfo; }
occ() { as_web php /var/www/html/occ "$@"; }

run_hooks() {
  local file
  for file in "/docker-entrypoint-hooks.d/$1"/*.sh; do
    [ -f "$file" ] || continue
    # The official image skips these too, and says so.
    if [ ! -x "$file" ]; then note "$file is not executable, skipped" && continue; fi
    note "running the $1 hook $file"
    as_web "$file" || die "the $1 hook $file failed"
  done
}

check() {
  local missing=()
  mounted /var/www/html || missing+=('a mount at /var/www/html: the code and its settings would be lost with the container')
  for name in MYSQL_PASSWORD POSTGRES_PASSWORD NEXTCLOUD_ADMIN_USER NEXTCLOUD_ADMIN_PASSWORD; do file_env "$name"; done
  for name in MYSQL_DATABASE MYSQL_USER POSTGRES_DB POSTGRES_USER; do file_env "$name"; done

  if [ -n "${MYSQL_HOST:-}" ]; then
    for name in MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD; do [ -n "${!name}" ] || missing+=("$name, beside MYSQL_HOST"); done
  elif [ -n "${POSTGRES_HOST:-}" ]; then
    for name in POSTGRES_DB POSTGRES_USER POSTGRES_PASSWORD; do [ -n "${!name}" ] || missing+=("$name, beside POSTGRES_HOST"); done
  else
    missing+=('MYSQL_HOST or POSTGRES_HOST: SQLite is not for more than a try')
  fi
  for name in NEXTCLOUD_ADMIN_USER NEXTCLOUD_ADMIN_PASSWORD; do
    [ -n "${!name}" ] || missing+=("$name: without it whoever comes first owns the server")
  done
  [ -n "${NEXTCLOUD_TRUSTED_DOMAINS:-}" ] || missing+=('NEXTCLOUD_TRUSTED_DOMAINS: every visitor would be refused')
  [ "${OVERWRITEPROTOCOL:-}" = https ] || missing+=('OVERWRITEPROTOCOL=https: links would lead to http, behind a proxy with TLS')
  [ -n "${TRUSTED_PROXIES:-}" ] || missing+=("TRUSTED_PROXIES: the log would show the proxy's address, and one bad guest would lock out all")

  if [ ${#missing[@]} -gt 0 ]; then
    printf 'stand-in for Nextcloud: the template does not give %s\n' "${missing[@]}" >&2
    exit 1
  fi
}

note 'STAND-IN: this is not Nextcloud, but an imitation for tests'
if [[ $1 = apache* ]] || [ "${NEXTCLOUD_UPDATE:-0}" = 1 ]; then
  check
  if [ -n "${REDIS_HOST:-}" ]; then
    file_env REDIS_HOST_PASSWORD
    answer=$(REDISCLI_AUTH=$REDIS_HOST_PASSWORD redis-cli -h "$REDIS_HOST" -p "${REDIS_HOST_PORT:-6379}" ping 2>&1) || true
    [ "$answer" = PONG ] || die "Redis at $REDIS_HOST does not let us in with REDIS_HOST_PASSWORD: $answer"
  fi

  image=$(php -r 'require "/usr/src/nextcloud/version.php"; echo implode(".", $OC_Version);')
  installed=0.0.0.0
  if [ -f /var/www/html/version.php ]; then
    installed=$(php -r 'require "/var/www/html/version.php"; echo implode(".", $OC_Version);')
  fi
  newest=$(printf '%s\n' "$installed" "$image" | sort -V | tail -n 1)
  if [ "$newest" != "$image" ]; then
    die "Can't start Nextcloud because the version of the data ($installed) is higher than the docker image version ($image) and downgrading is not supported. Are you sure you have pulled the newest image version?"
  fi
  if [ "$installed" != "$image" ]; then
    if [ "$installed" != 0.0.0.0 ] && [ $((${image%%.*} - ${installed%%.*})) -gt 1 ]; then
      die "Can't start Nextcloud because upgrading from $installed to $image is not supported. It is only possible to upgrade one major version at a time."
    fi
    cp -rT /usr/src/nextcloud /var/www/html
    mkdir -p /var/www/html/config /var/www/html/data /var/www/html/custom_apps
    if [ "$(id -u)" = 0 ]; then
      chown www-data:www-data /var/www/html /var/www/html/config /var/www/html/custom_apps
      # A mount's owner is the template's business, as with the official image.
      mounted /var/www/html/data || chown www-data:www-data /var/www/html/data
    fi
    as_web test -w /var/www/html/data || die 'Cannot create or write into the data directory /var/www/html/data: it must belong to www-data (uid 33)'
    if [ "$installed" = 0.0.0.0 ]; then
      run_hooks pre-installation
      occ maintenance:install
      run_hooks post-installation
    else
      run_hooks pre-upgrade
      occ upgrade
      run_hooks post-upgrade
    fi
  fi
  run_hooks before-starting
fi
exec "$@"
