#!/bin/sh
# The official image's second entry point: cron jobs every five minutes.
set -eu
[ -f /var/www/html/version.php ] || {
  echo 'stand-in for Nextcloud: /cron.sh finds no Nextcloud in /var/www/html; it needs the same mount as the app' >&2
  exit 1
}
mkdir -p /var/spool/cron/crontabs
echo '*/5 * * * * php -f /var/www/html/cron.php' >/var/spool/cron/crontabs/www-data
exec busybox crond -f -L /dev/stdout
