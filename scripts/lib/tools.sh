# shellcheck shell=bash
# Programs that the tests call and that come as Rust crates: built once, kept for
# all clones of this machine. Needs common.sh and cargo.sh.

SUMMONER_TOOLS=${SUMMONER_TOOLS:-$HOME/.cache/summoner-tools}

# tool PROGRAM: where it is, whether it is there or not.
tool() { printf '%s/bin/%s' "$SUMMONER_TOOLS" "$1"; }

# ensure_tool CRATE@VERSION [OPTION…]: builds that very version with these options
# of `cargo install`, unless it is there. The program is called like the crate.
ensure_tool() {
  local crate=${1%@*} version=${1#*@} started=$EPOCHREALTIME
  shift
  if have_tool "$crate" "$version"; then return; fi
  mkdir -p "$SUMMONER_TOOLS/build"
  (
    # Two builds at once would do everything twice; the second finds it done.
    exec 7>"$SUMMONER_TOOLS/build/$crate.lock"
    flock -n 7 || {
      say "tools: $crate is being built by another run, waiting for it"
      flock -w 3600 7 || die "another build of $crate has run for an hour" "ps -ef | grep 'cargo install'"
    }
    if have_tool "$crate" "$version"; then return; fi
    say "tools: building $crate $version"
    # In a folder of its own that outlives an interrupted run, which then goes on
    # where it stopped. At low priority: it runs beside the compiler of the tests.
    CARGO_TARGET_DIR=$SUMMONER_TOOLS/build/$crate nice -n 10 cargo install --quiet --locked --force \
      --root "$SUMMONER_TOOLS" "$@" "$crate@$version" 7>&- ||
      die "cargo could not build $crate $version" "cargo install --locked --root '$SUMMONER_TOOLS' $* $crate@$version"
    rm -rf "$SUMMONER_TOOLS/build/$crate"
    say "tools: $crate $version, $(since "$started") s"
  )
}

# have_tool CRATE VERSION: cargo itself notes down what it has installed.
have_tool() {
  [ -x "$(tool "$1")" ] && grep -qsF "\"$1 $2 " "$SUMMONER_TOOLS/.crates.toml"
}

# The S3 servers of the tests. s3s-fs is quick, Garage is the strict one: production
# software that refuses what lenient servers let pass, a quarter of an hour to build.
ensure_s3_servers() {
  ensure_tool s3s-fs@0.14.1 --features binary || return
  ensure_tool garage@2.5.0
}
export_s3_servers() {
  SUMMONER_TEST_S3S=$(tool s3s-fs)
  SUMMONER_TEST_GARAGE=$(tool garage)
  export SUMMONER_TEST_S3S SUMMONER_TEST_GARAGE
}
