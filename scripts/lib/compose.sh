# shellcheck shell=bash
# Docker Compose 2 for tests and benchmarks: what we render must be accepted by
# it. Needs common.sh and debian.sh. Sets and exports SUMMONER_TEST_COMPOSE, a program that is
# called like `docker-compose`. Nothing is installed on the machine.

ensure_compose() {
  if docker compose version >/dev/null 2>&1; then
    # A plugin runs by itself, too, but only the client knows where it is.
    local shim=$REPO/target/tools/docker-compose-plugin
    mkdir -p "$(dirname "$shim")"
    printf '#!/bin/sh\nexec docker compose "$@"\n' >"$shim"
    chmod +x "$shim"
    export SUMMONER_TEST_COMPOSE=$shim
    return
  fi
  local unpacked=$REPO/target/tools/compose
  export SUMMONER_TEST_COMPOSE=$unpacked/usr/libexec/docker/cli-plugins/docker-compose
  if "$SUMMONER_TEST_COMPOSE" version >/dev/null 2>&1; then return; fi
  debian_like || die "Docker Compose 2 is missing" "install the Compose plugin of Docker"
  say "fetching Docker Compose 2 (Debian package, unpacked under target/tools)"
  fetch_debian_packages sid "$unpacked" docker-compose
  "$SUMMONER_TEST_COMPOSE" version >/dev/null || die "Docker Compose 2 from Debian does not run here"
}
