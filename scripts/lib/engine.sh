# shellcheck shell=bash
# Docker Engine: see that it is there and answers. Needs common.sh. After
# `ensure_engine`, `docker` works; nothing is touched when it already did.

ENGINE_LOG=${ENGINE_LOG:-/var/log/dockerd.log}

engine_answers() { [ -n "$(timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null)" ]; }

ensure_engine() {
  if command -v docker >/dev/null && engine_answers; then return; fi

  if [ -n "${DOCKER_HOST:-}" ]; then
    die "the Docker Engine at DOCKER_HOST=$DOCKER_HOST does not answer" "unset DOCKER_HOST"
  fi
  if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then install_engine; fi

  # It may run, and answer root only.
  if [ "$(id -u)" != 0 ] && [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
    die "Docker Engine is there, but this user may not talk to it" "sudo $0"
  fi

  if [ -d /run/systemd/system ]; then
    start_engine_by_systemd
  else
    start_engine_by_hand
  fi
  say "Docker Engine $(docker version --format '{{.Server.Version}} (API {{.Server.APIVersion}})') is running"
}

install_engine() {
  # Written for Debian, tried on bookworm. The same packages exist on Ubuntu: untested.
  if ! debian_like; then
    die "Docker Engine is missing, and this script can install it on Debian and Ubuntu only" \
      "install Docker Engine (API 1.41 or newer) with this system's package manager, start it, and run $0 again"
  fi
  local packages=(docker.io iptables)
  # Since trixie the client is a package of its own, which docker.io only recommends.
  if apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  install_packages "${packages[@]}"
  hash -r
}

start_engine_by_systemd() {
  as_root systemctl start docker.service || {
    as_root journalctl -u docker.service -n 15 --no-pager >&2 || true
    die "systemd could not start docker.service" "systemctl status docker"
  }
  wait_for_engine 60 || die "docker.service was started, but does not answer" "journalctl -u docker -n 50"
}

start_engine_by_hand() {
  mount_cgroups
  launch_dockerd
  wait_for_engine 60 && return

  # Where the kernel has no nftables, iptables' older back end still works. It is
  # put first in dockerd's PATH only: the machine's own choice stays as it is.
  if tail -n 40 "$ENGINE_LOG" | grep -qiE 'iptables.*(nf_tables|initialize|not supported)' && command -v iptables-legacy >/dev/null; then
    say "dockerd could not use iptables, trying iptables-legacy"
    local shim=/run/summoner-iptables name
    as_root mkdir -p "$shim"
    for name in iptables ip6tables; do as_root ln -sf "$(command -v $name-legacy)" "$shim/$name"; done
    launch_dockerd "$shim"
    wait_for_engine 60 && return
  fi
  as_root tail -n 15 "$ENGINE_LOG" >&2
  die "dockerd did not get ready" "less $ENGINE_LOG"
}

# A machine without systemd may have no control groups mounted, and runc needs them.
mount_cgroups() {
  if ! grep -qE ' cgroup2? ' /proc/mounts; then
    as_root mount -t cgroup2 cgroup2 /sys/fs/cgroup || warn "could not mount the control groups"
  fi
}

# launch_dockerd [DIRECTORY]: DIRECTORY goes first in its PATH.
launch_dockerd() {
  local pid
  pid=$(cat /var/run/docker.pid 2>/dev/null || true)
  # After a crash or a reboot the number may belong to something else by now,
  # which dockerd would take for itself.
  if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != dockerd ]; then as_root rm -f /var/run/docker.pid; fi
  # In a session of its own: it outlives this script and its terminal. Without our
  # open files: it would hold the locks of whoever called.
  as_root env "PATH=${1:+$1:}$PATH" bash -c '
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
    done
    setsid dockerd >>"$0" 2>&1 </dev/null &' "$ENGINE_LOG"
}

# wait_for_engine SECONDS: gives up early when dockerd has ended.
wait_for_engine() {
  local try
  for try in $(seq $(($1 * 5))); do
    if engine_answers; then return 0; fi
    if [ ! -d /run/systemd/system ] && [ "$try" -gt 15 ] && ! grep -qsx dockerd /proc/[0-9]*/comm; then return 1; fi
    sleep 0.2
  done
  return 1
}
