# shellcheck shell=bash
# Takes away what tests that were killed have left in the engine. Needs common.sh.
#
# A test's own objects carry the label io.summoner.test=<what>; what Summoner
# makes in a test carries io.summoner.project=t-<what>. Nothing else is touched.

# is_alive WORD: `4711`, `smoke-redis-4711`, `engine-lab-4711-2`: the first part
# that is a number is a process, and while it lives, its run goes on.
is_alive() {
  local parts part
  IFS=- read -ra parts <<<"$1"
  for part in "${parts[@]}"; do
    if [[ $part =~ ^[0-9]+$ ]]; then
      [ -d "/proc/$part" ]
      return
    fi
  done
  return 1
}

# ours KIND: the ids of KIND (container, network, volume) that are leftovers.
ours() {
  local list template id test_value process project
  template='{{.Label "io.summoner.test"}}|{{.Label "io.summoner.test.pid"}}|{{.Label "io.summoner.project"}}'
  case $1 in
    container) list=(docker container ls --all --format "{{.ID}}|$template") ;;
    network) list=(docker network ls --format "{{.ID}}|$template") ;;
    volume) list=(docker volume ls --format "{{.Name}}|$template") ;;
  esac
  # Two listings, because filters with different keys mean "and".
  { "${list[@]}" --filter label=io.summoner.test && "${list[@]}" --filter label=io.summoner.project; } | sort -u |
    while IFS='|' read -r id test_value process project; do
      if [ -z "$test_value" ] && [[ $project != t-* ]]; then continue; fi
      if is_alive "$test_value" || is_alive "$process" || is_alive "$project"; then continue; fi
      printf '%s\n' "$id"
    done
}

sweep_leftovers() {
  local kind ids
  for kind in container network volume; do
    mapfile -t ids < <(ours "$kind")
    [ ${#ids[@]} -gt 0 ] || continue
    say "taking away ${#ids[@]} leftover ${kind}s of earlier tests"
    case $kind in
      container) docker container rm --force --volumes "${ids[@]}" >/dev/null || true ;;
      network) docker network rm "${ids[@]}" >/dev/null || true ;;
      volume) docker volume rm "${ids[@]}" >/dev/null || true ;;
    esac
  done
}
