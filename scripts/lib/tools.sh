# shellcheck shell=bash
# Programs written in Rust that only tests and checks use, built once by `cargo install` and kept for
# every checkout of this machine, CI's too. Needs common.sh and cargo.sh.

# Where they lie: bin/ below it is in PATH.
SUMMONER_TOOLS=${SUMMONER_TOOLS:-$HOME/.cache/summoner-tools}
export SUMMONER_TOOLS
case ":$PATH:" in *:"$SUMMONER_TOOLS/bin":*) ;; *) PATH=$SUMMONER_TOOLS/bin:$PATH ;; esac

# ensure_tool NAME CRATE VERSION [FEATURE… | --OPTION…]: the program NAME of exactly that version of
# the crate. A word that begins with `--` goes to `cargo install` as it is.
# Fails, with what to type, where it is neither there nor to be had.
ensure_tool() {
  local name=$1 crate=$2 version=$3 word features=() options=()
  shift 3
  # What cargo notes of its installs; two crates never share a line.
  if [ -x "$SUMMONER_TOOLS/bin/$name" ] && grep -qF "\"$crate $version (" "$SUMMONER_TOOLS/.crates.toml" 2>/dev/null; then
    return
  fi
  need_cargo
  for word in "$@"; do
    case $word in --*) options+=("$word") ;; *) features+=("$word") ;; esac
  done
  [ ${#features[@]} -eq 0 ] || options+=(--features "$(IFS=, && echo "${features[*]}")")
  say "building $crate $version, once for this machine (cargo install)"
  # Not with this repository's settings, and its output is only of interest where it fails.
  # In a folder that outlives an interrupted run: the next one goes on where it stopped. At low
  # priority, since it may run beside the compiler of the tests.
  local log build=$SUMMONER_TOOLS/build/$crate-$version
  log=$(mktemp)
  if (cd / && CARGO_TARGET_DIR=$build nice -n 10 cargo install "$crate" --version "=$version" --locked --root "$SUMMONER_TOOLS" --bin "$name" "${options[@]}") >"$log" 2>&1; then
    rm -rf "$log" "$build"
    return
  fi
  tail -n 20 "$log" >&2
  rm -f "$log"
  warn "$name could not be built"
  printf 'hint: cargo install %s --version =%s --locked --root %s %s\n' "$crate" "$version" "$SUMMONER_TOOLS" "${options[*]}" >&2
  return 1
}

# The S3 servers of the tests. s3s-fs is quick and lenient; Garage is production software and refuses
# what lenient servers let pass: a quarter of an hour to build.
ensure_s3_servers() {
  ensure_tool s3s-fs s3s-fs 0.14.1 binary || return
  ensure_tool garage garage 2.5.0
}
export_s3_servers() {
  SUMMONER_TEST_S3S=$SUMMONER_TOOLS/bin/s3s-fs
  SUMMONER_TEST_GARAGE=$SUMMONER_TOOLS/bin/garage
  export SUMMONER_TEST_S3S SUMMONER_TEST_GARAGE
}
