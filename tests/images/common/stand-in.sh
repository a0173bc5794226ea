# shellcheck shell=bash
# What the entry points of our images have in common. Sourced by bash.

note() { printf '%s [stand-in] %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"; }

die() {
  printf '%s [stand-in] error: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2
  exit 1
}

# file_env NAME [DEFAULT]: settle $NAME from itself, from the file named by
# $NAME_FILE, or from DEFAULT. Both at once is an error, as upstream has it,
# because there is no telling which of the two was meant.
file_env() {
  local name=$1 file="${1}_FILE" value=${2:-}
  if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
    die "both $name and $file are set (but are exclusive)"
  fi
  if [ -n "${!name:-}" ]; then
    value=${!name}
  elif [ -n "${!file:-}" ]; then
    [ -r "${!file}" ] || die "$file names ${!file}, which cannot be read"
    value=$(<"${!file}")
  fi
  export "$name"="$value"
  unset "$file"
}

# Without a password in an SQL text: single quotes and backslashes doubled.
sql_quote() {
  local text=${1//\\/\\\\}
  printf "'%s'" "${text//\'/\'\'}"
}

# run_init_files SQL_COMMAND FILE…: the /docker-entrypoint-initdb.d convention.
# SQL_COMMAND is a function that reads SQL from standard input.
run_init_files() {
  local sql=$1 file
  shift
  for file in "$@"; do
    case $file in
      *.sh)
        if [ -x "$file" ]; then
          note "running $file"
          "$file"
        else
          note "sourcing $file"
          # shellcheck disable=SC1090
          . "$file"
        fi
        ;;
      *.sql) note "running $file" && "$sql" <"$file" ;;
      *.sql.gz) note "running $file" && gunzip -c "$file" | "$sql" ;;
      *.sql.xz) note "running $file" && xz -dc "$file" | "$sql" ;;
      *.sql.zst) note "running $file" && zstd -dcq "$file" | "$sql" ;;
      */\*) ;; # an empty directory
      *) note "ignoring $file" ;;
    esac
  done
}

# become USER COMMAND…: replaces this process, so that the program is PID 1
# (or its init's child) and gets the engine's signals itself.
become() {
  local user=$1
  shift
  exec setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
}
