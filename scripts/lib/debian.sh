# shellcheck shell=bash
# Debian's packages from suites other than this machine's own, without touching
# its apt settings. Needs common.sh.

# debian_mirror [-security]: the mirror that this machine itself uses; nothing on
# a system other than Debian.
# shellcheck disable=SC2119,SC2120 # the argument may be left out
debian_mirror() {
  local ID='' VERSION_CODENAME=''
  # shellcheck source=/dev/null
  . /etc/os-release
  [ "$ID" = debian ] || return 0
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $VERSION_CODENAME${1:-}" 2>/dev/null | sort -u | sed -n 1p
}

# fetch_debian_packages SUITE DIRECTORY PACKAGE…: unpacks these packages, and only
# these, into DIRECTORY. Nothing is installed.
fetch_debian_packages() {
  local suite=$1 directory=$2 mirror apt
  shift 2
  # shellcheck disable=SC2119
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || die "$* of Debian $suite is needed, and this is not Debian" "install $* by other means"
  apt=$(mktemp -d)
  # An apt that works as root fetches as user _apt, who has to be able to write here.
  chmod 755 "$apt"
  mkdir -p "$apt"/etc/{preferences.d,sources.list.d} "$apt"/{lists,cache}/partial "$apt/cache/archives/partial"
  : >"$apt/status"
  echo "deb $mirror $suite main" >"$apt/etc/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc "$apt/etc";
Dir::Etc::parts "$apt/etc";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "$(id -un)";
CONF
  (
    export APT_CONFIG=$apt/apt.conf
    cd "$apt/cache"
    timeout 300 apt-get -qq update && timeout 600 apt-get -qq download "$@"
  ) || { rm -rf "$apt" && die "could not fetch $* from Debian $suite" "run $0 again"; }
  # Put in place as a whole, so that what was interrupted is not taken for done.
  rm -rf "$directory.new"
  mkdir -p "$directory.new"
  local package
  for package in "$apt"/cache/*.deb; do dpkg-deb -x "$package" "$directory.new"; done
  rm -rf "$directory" "$apt"
  mkdir -p "$(dirname "$directory")"
  mv "$directory.new" "$directory"
}
