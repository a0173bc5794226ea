#!/usr/bin/env bash
# healthcheck.sh [--connect] [--innodb_initialized] …: the checks of the official
# image's script that templates use. Exit 0 only if every one holds.
set -eo pipefail
defaults=/var/lib/mysql/.my-healthcheck.cnf
args=()
[ ! -r "$defaults" ] || args=(--defaults-file="$defaults")

sql() { mariadb "${args[@]}" --protocol=tcp -h127.0.0.1 --skip-ssl --skip-column-names -e "$1"; }

[ $# -gt 0 ] || { echo 'healthcheck.sh: at least one check is needed, such as --connect' >&2; exit 1; }
for check in "$@"; do
  case $check in
    # Over TCP, because the temporary server of the first start has none.
    # "Access denied" too means that a server is there and answers.
    --connect) sql 'SELECT 1' >/dev/null 2>&1 || sql 'SELECT 1' 2>&1 | grep -q 'ERROR 1045' ;;
    --innodb_initialized)
      [ "$(sql "SELECT 1 FROM information_schema.ENGINES WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT', 'ENABLED')")" = 1 ] ;;
    --su-mysql | --su=*) ;; # who asks makes no difference here
    --no-defaults) args=() ;;
    --defaults-file=*) args=("$check") ;;
    *) echo "healthcheck.sh: $check is not known to this stand-in" >&2 && exit 1 ;;
  esac
done
