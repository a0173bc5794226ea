# shellcheck shell=bash
# What the scripts of this repository share: how they speak, how they install a
# package, how they tell the time. Sourced by bash.

# The directory of the repository, whatever the caller's directory is.
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export REPO

# Not every system has these in a user's PATH, and dockerd and iptables live there.
case ":$PATH:" in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin ;; esac

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die MESSAGE [HINT]: HINT is the next thing to type.
die() {
  printf 'error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# since START: seconds since START (a value of $EPOCHREALTIME), with one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "\`$1\` needs root, and there is no sudo" "run this script as root"
  fi
}

# debian_like: whether packages come by apt here.
debian_like() {
  command -v apt-get >/dev/null && grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release 2>/dev/null
}

# install_packages NAME…: by apt, without questions. Waits for another apt.
install_packages() {
  local apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  say "installing $* (Debian packages)"
  # A source that does not answer is no reason to stop: what is needed may well
  # come from the others, and if not, the next command says so.
  as_root "${apt[@]}" update >/dev/null || warn "apt-get update had errors, going on with what it got"
  as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null </dev/null ||
    die "apt-get could not install $*" "apt-get install -y --no-install-recommends $*"
}

# need_commands COMMAND[=PACKAGE]…: installs the packages of those that are missing.
need_commands() {
  local item missing=()
  for item in "$@"; do
    command -v "${item%%=*}" >/dev/null || missing+=("${item#*=}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  debian_like || die "these commands are needed: ${missing[*]}" "install them with this system's package manager"
  install_packages "${missing[@]}"
}
