# shellcheck shell=bash
# Who listens on a port of this machine. Needs common.sh.

# port_user PORT: says who has it; nothing if it is free, or if our own proxy has it.
port_user() {
  local port=$1 container project listener
  if command -v docker >/dev/null; then
    while IFS='|' read -r container project; do
      [ -n "$container" ] || continue
      [ -n "$project" ] || printf 'the container %s' "$container"
      return
    done < <(docker ps --filter "publish=$port" --format '{{.Names}}|{{.Label "io.summoner.project"}}' 2>/dev/null)
  fi
  command -v ss >/dev/null || return 0
  listener=$(as_root ss -Hltnp "sport = :$port" 2>/dev/null | sed -n 1p)
  [ -n "$listener" ] || return 0
  # users:(("apache2",pid=812,fd=4))
  if [[ $listener =~ users:\(\(\"([^\"]+)\",pid=([0-9]+) ]]; then
    printf 'process %s, %s' "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}"
  else
    printf 'another program'
  fi
}
