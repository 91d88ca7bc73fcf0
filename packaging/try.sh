#!/usr/bin/env bash
# Tries the scripts that users run, with the programs in the folder given: try.sh target/debug. Needs curl, jq and
# python3; the network is this machine's own.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(cd "${1:?folder with copera-upload and local-drive}" && pwd)
export PATH=$programs:$PATH
work=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

echo '-- install.sh'
target=$(case $(uname -s)/$(uname -m) in
Linux/x86_64) echo x86_64-unknown-linux-musl ;;
Linux/*) echo aarch64-unknown-linux-musl ;;
Darwin/x86_64) echo x86_64-apple-darwin ;;
*) echo aarch64-apple-darwin ;;
esac)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
release=$work/releases/download/v$version
mkdir -p "$release" "$work/releases/latest"
ln -s "../download/v$version" "$work/releases/latest/download"
# The formula wants all four; only one of them is opened here.
for other in x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-apple-darwin aarch64-apple-darwin; do
    echo "$other" | gzip >"$release/copera-upload-$version-$other.tar.gz"
done
packaging/archive.sh "$target" "$programs/copera-upload" "$release" >/dev/null
sums() {
    (cd "$release" && if command -v sha256sum >/dev/null; then sha256sum ./*.gz; else shasum -a 256 ./*.gz; fi |
        sed 's, \./, ,' >SHA256SUMS)
}
sums
packaging/homebrew.sh "$version" "$release/SHA256SUMS" >"$work/formula"
grep -q 'class CoperaUpload' "$work/formula" || fail 'no formula'
# Says its port itself: one that is free now may be taken a moment later.
python3 -u - "$work/releases" >"$work/port" 2>/dev/null <<'PYTHON' &
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
server=$!
until [ -s "$work/port" ]; do kill -0 "$server" || fail 'no server'; sleep 0.05; done
COPERA_UPLOAD_RELEASES=http://127.0.0.1:$(cat "$work/port")
export COPERA_UPLOAD_RELEASES COPERA_UPLOAD_INSTALL_DIR="$work/bin" no_proxy=127.0.0.1
sh packaging/install.sh >/dev/null
# Not by a pipe: grep -q leaves at the first match, and what is written to it after that fails.
sh packaging/install.sh "$version" >"$work/said"
grep -q "$work/bin" "$work/said" || fail 'install.sh does not say where'
"$work/bin/copera-upload" --version | grep -qF "$version" || fail 'what was installed does not run'
rm -r "${work:?}/bin"
! sh packaging/install.sh 99.0.0 2>/dev/null || fail 'a version that is not there was installed'
mkdir -p "$work/bin/copera-upload"
! sh packaging/install.sh 2>/dev/null || fail 'a directory was taken for the program'
rm -r "${work:?}/bin"
archive=$release/copera-upload-$version-$target.tar.gz
cp "$archive" "$work/good.tar.gz"
printf '#!/bin/sh\nexit 3\n' >"$work/copera-upload"
packaging/archive.sh "$target" "$work/copera-upload" "$release" >/dev/null
sums
! sh packaging/install.sh 2>"$work/said" || fail 'a program that does not run was installed'
grep -q 'does not run' "$work/said" || fail 'a program that does not run is not called so'
[ -z "$(ls -A "$work/bin")" ] || fail 'a program that does not run left something behind'
rmdir "$work/bin"
cp "$work/good.tar.gz" "$archive"
sums
printf x >>"$release/copera-upload-$version-$target.tar.gz"
! sh packaging/install.sh 2>"$work/said" || fail 'a damaged archive was installed'
grep -q 'SHA-256' "$work/said" || fail 'a damaged archive is not called so'
[ ! -e "$work/bin" ] || fail 'a damaged archive left something behind'

echo '-- the action'
mkdir -p "$work/files/dir"
cd "$work/files"
echo one >'a b.txt'
echo two >'c|d![x].txt'
echo three >dir/e
action=$OLDPWD/.github/actions/upload/upload.sh
export GITHUB_OUTPUT=$work/out GITHUB_STEP_SUMMARY=$work/summary
act() {
    : >"$GITHUB_OUTPUT" && : >"$GITHUB_STEP_SUMMARY"
    local code=0
    local-drive bash "$action" >"$work/stdout" 2>&1 || code=$?
    [ "$code" -eq "$1" ] || { cat "$work/stdout"; fail "the action ended with $code, not $1"; }
}
INPUT_PATH=$'*.txt\ndir' INPUT_RECURSIVE=true act 0
grep -q '^::add-mask::cp_pat_' "$work/stdout" || fail 'the token is not masked'
[ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 3 ] || fail 'not three ids'
[ "$(grep -c '^https://app.copera.ai/local/drive/c/' "$GITHUB_OUTPUT")" -eq 3 ] || fail 'not three addresses'
grep -qF '| c\|d\!\[x\].txt | uploaded | 4 |' "$GITHUB_STEP_SUMMARY" || fail 'the summary has no row for c|d![x].txt'
INPUT_PATH='  a b.txt  ' INPUT_RECURSIVE=False act 0
# shellcheck disable=SC2016
local-drive bash -c 'COPERA_API_URL=${COPERA_API_URL%/public/v1} INPUT_PATH="a b.txt" bash "$0"' "$action" >"$work/stdout" 2>&1
grep -q '^https://app.copera.ai/local/drive/c/' "$GITHUB_OUTPUT" || fail 'no address for an API without a path'
# Refused, and masked before anything else.
local-drive env COPERA_TOKEN=a%25b INPUT_PATH='a b.txt' bash "$action" >"$work/stdout" 2>&1 &&
    fail 'a wrong token was taken'
grep -q '^::add-mask::a%2525b$' "$work/stdout" || fail 'a % in a token is not escaped'
mkdir -p deep/er && echo four >deep/er/f.txt && echo five >deep/g.txt
INPUT_PATH='deep/**' act 0
[ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 2 ] || fail "deep/** is not its two files"
INPUT_PATH=deep INPUT_RECURSIVE=true INPUT_EXCLUDE='er ' INPUT_LIMIT_RATE=1MiB act 0
[ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 1 ] || fail 'exclude does not leave out'
INPUT_PATH=deep INPUT_RECURSIVE=yes act 2
INPUT_PATH=deep INPUT_RECURSIVE=true INPUT_LIMIT_RATE=fast act 2
grep -q '^::error::' "$work/stdout" || fail 'a wrong option is no error of the job'
INPUT_PATH=$'a b.txt\nnot-there' act 9
[ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 1 ] || fail 'what was done is not told'
INPUT_PATH='' act 2
echo '-- all well'
