# shellcheck shell=bash
# Whether images can be had from a registry. Needs common.sh, and an engine.

# registry_answers IMAGE: asks the engine to fetch IMAGE, for a few seconds only.
# The engine is asked, and no host named here, because which registry it uses
# (a mirror, a proxy) is its own business. A fetch that has begun is an answer.
registry_answers() {
  local log answer=1 client try
  log=$(mktemp)
  docker pull "$1" >"$log" 2>&1 </dev/null &
  client=$!
  for try in $(seq 80); do
    if grep -qE 'Pulling from|Already exists|Download' "$log"; then
      answer=0
      break
    fi
    kill -0 "$client" 2>/dev/null || break
    [ "$try" = 80 ] || sleep 0.1
  done
  # What has been fetched so far is kept by the engine for the real pull.
  kill "$client" 2>/dev/null || true
  wait "$client" 2>/dev/null && answer=0
  rm -f "$log"
  return "$answer"
}
