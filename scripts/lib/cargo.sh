# shellcheck shell=bash
# The one thing these scripts do not install: Rust. Needs common.sh.

case ":$PATH:" in *:"$HOME/.cargo/bin":*) ;; *) PATH=$HOME/.cargo/bin:$PATH ;; esac

# The oldest version that Cargo.toml allows.
oldest_rust() { sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$REPO/Cargo.toml" | sed -n 1p; }

need_cargo() {
  local wanted have
  wanted=$(oldest_rust)
  if ! command -v cargo >/dev/null; then
    die "cargo is missing: this project is built with Rust $wanted or newer" \
      "install Rust with rustup (see the site of the Rust project, \"Install Rust\"), open a new shell, run $0 again"
  fi
  # In the repository's directory, where a toolchain file or an override holds.
  have=$(cd "$REPO" && rustc --version 2>/dev/null | awk '{ print $2 }')
  [ -n "$have" ] || die "cargo is there, but rustc does not run" "rustup show"
  if [ -n "$wanted" ] && [ "$(printf '%s\n' "$wanted" "$have" | sort -V | sed -n 1p)" != "$wanted" ]; then
    die "Rust $have is too old: this project is built with $wanted or newer" \
      "rustup update stable (if Rust came from a system package: install rustup and take Rust from there), then run $0 again"
  fi
  # Some crates have parts in C, and rustc links with cc.
  command -v cc >/dev/null || {
    debian_like || die "a C compiler (cc) is missing" "install gcc with this system's package manager"
    install_packages gcc libc6-dev
  }
}
