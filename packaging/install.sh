#!/bin/sh
# Installs copera-upload: downloads the archive for this system, compares its SHA-256 with the release's, and puts
# the program into a folder of yours. Nothing else is changed.
#
#   sh install.sh            the latest version
#   sh install.sh 0.1.0      this one
#
# COPERA_UPLOAD_INSTALL_DIR   where to [default: ~/.local/bin]
# COPERA_UPLOAD_RELEASES      from where, for mirrors
set -eu

releases=${COPERA_UPLOAD_RELEASES:-https://github.com/copera-ai/copera-upload/releases}
version=${1:-latest}
case $version in
-*)
    sed -n '2,/^set/{/^set/d;s/^#[ ]*//;p;}' "$0"
    exit
    ;;
esac
folder=${COPERA_UPLOAD_INSTALL_DIR:-${HOME:?HOME is not set}/.local/bin}

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# With curl https alone, also behind redirects, unless a mirror is named otherwise; wget cannot be told so.
fetch() {
    case $releases in https:*) only="=https" ;; *) only="=http,https" ;; esac
    if has curl; then
        curl --proto "$only" -fsSL --retry 3 -o "$2" "$1"
    elif has wget; then
        wget -q -O "$2" "$1"
    else
        fail 'curl or wget is needed'
    fi || fail "cannot download $1"
}

sum() {
    if has sha256sum; then
        sha256sum "$1" | cut -d ' ' -f 1
    elif has shasum; then
        shasum -a 256 "$1" | cut -d ' ' -f 1
    else
        fail 'sha256sum or shasum is needed, to verify what is downloaded'
    fi
}

case $(uname -s)/$(uname -m) in
Linux/x86_64) target=x86_64-unknown-linux-musl ;;
Linux/aarch64 | Linux/arm64) target=aarch64-unknown-linux-musl ;;
Darwin/x86_64) target=x86_64-apple-darwin ;;
Darwin/arm64) target=aarch64-apple-darwin ;;
MINGW*/x86_64 | MSYS*/x86_64) target=x86_64-pc-windows-msvc ;;
*) fail "there is no build for $(uname -s) on $(uname -m); with Rust: cargo install --locked --git https://github.com/copera-ai/copera-upload copera-upload" ;;
esac
program=copera-upload archive=tar.gz
case $target in *windows*) program=copera-upload.exe archive=zip ;; esac

case $version in
latest) from=$releases/latest/download ;;
*) from=$releases/download/v${version#v} ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fetch "$from/SHA256SUMS" "$work/SHA256SUMS"
line=$(grep -E "^[0-9a-f]{64} [ *]copera-upload-[^/]*-$target\.$archive\$" "$work/SHA256SUMS" | head -n 1)
[ -n "$line" ] || fail "this release has no archive for $target"
name=${line#* [ *]}
fetch "$from/$name" "$work/$name"
[ "$(sum "$work/$name")" = "${line%% *}" ] ||
    fail "the SHA-256 of $name is not the one in SHA256SUMS: it was damaged or tampered with; nothing was installed"

case $archive in
zip) unzip -q "$work/$name" -d "$work" ;;
*) tar -xzf "$work/$name" -C "$work" ;;
esac
mkdir -p -- "$folder"
folder=$(CDPATH='' cd -- "$folder" && pwd)
[ ! -d "$folder/$program" ] || fail "$folder/$program is a directory"
# Beside its place first, and tried there: what is in its place is a whole program that runs, the old one or the new.
new=$folder/.$program.new
trap 'rm -rf "$work" "$new"' EXIT
cp "$work/${name%".$archive"}/$program" "$new"
chmod 755 "$new"
installed=$("$new" --version) || fail "the program in $name does not run on this machine; nothing was installed"
mv -f "$new" "$folder/$program"

printf 'Installed %s as %s\n' "$installed" "$folder/$program"
case :$PATH: in
*:"$folder":*) ;;
*) printf 'It is not on your PATH yet: add %s to it.\n' "$folder" ;;
esac
printf 'Next: copera-upload --login. To uninstall: rm %s\n' "$folder/$program"
