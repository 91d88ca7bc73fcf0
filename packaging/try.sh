#!/usr/bin/env bash
# Tries what users install and run, with the programs in the folder given: try.sh target/debug. Each package is installed
# from the built files in an empty environment, uploads a file to a local drive, and is removed.
#
# What lacks its tools on this system is not tried. The last lines say what was and what was not; with TRY_ALL=1 the
# latter is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(cd "${1:?folder with copera-upload and local-drive}" && pwd)
export PATH=$programs:$PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
work=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

tried=()
missing=()
# Begins the part NAME if all TOOLs are there: part NAME TOOL...
part() {
    local name=$1 tool
    shift
    printf -- '-- %s\n' "$name"
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { skip "$name" "$tool is not installed"; return 1; }
    done
    tried+=("$name")
}
skip() {
    printf '   not tried: %s\n' "$2"
    missing+=("$1: $2")
}

target=$(case $(uname -s)/$(uname -m) in
Linux/x86_64) echo x86_64-unknown-linux-musl ;;
Linux/*) echo aarch64-unknown-linux-musl ;;
Darwin/x86_64) echo x86_64-apple-darwin ;;
*) echo aarch64-apple-darwin ;;
esac)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Uploads with the command given, and checks the answer.
uploads() {
    echo hello >"$work/hello.txt"
    id=$(cd "$work" && local-drive "$@" -o id hello.txt 2>"$work/said") || { cat "$work/said" >&2; fail "$1 does not upload"; }
    case $id in *[!0-9a-f]* | '') fail "$1 prints no ID: $id" ;; esac
}
if part 'install.sh and Homebrew formula' curl python3; then
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
    "$work/bin/copera-upload" --version | grep -F "$version" >/dev/null || fail 'what was installed does not run'
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
fi

if part 'wheel (pip, uvx)' maturin uv unzip; then
    maturin build --quiet --profile dev --locked --out "$work/wheels" >"$work/said" 2>&1 ||
        { cat "$work/said" >&2; fail 'maturin builds no wheel'; }
    wheel=$(echo "$work"/wheels/*.whl)
    unzip -l "$wheel" | grep -F licenses/LICENSE-MIT >/dev/null || fail 'the wheel has no license'
    uv venv --quiet "$work/venv"
    uv pip install --quiet --offline --no-index --python "$work/venv" "$wheel"
    uploads "$work/venv/bin/copera-upload"
    uv pip uninstall --quiet --python "$work/venv" copera-upload
    [ ! -e "$work/venv/bin/copera-upload" ] || fail 'the wheel leaves its program behind'
    uploads uvx --quiet --offline --no-cache --from "$wheel" copera-upload
    if part 'wheel (pipx)' pipx; then
        export PIPX_HOME=$work/pipx PIPX_BIN_DIR=$work/pipx/bin PIPX_MAN_DIR=$work/pipx/man
        pipx install --quiet "$wheel" >/dev/null
        uploads "$work/pipx/bin/copera-upload"
        pipx uninstall copera-upload >/dev/null 2>&1
        [ ! -e "$work/pipx/bin/copera-upload" ] || fail 'pipx leaves the program behind'
    fi
fi

if part 'npm packages' npm node; then
    packaging/npm/pack.sh "$work/packages" "$target=$programs/copera-upload" >"$work/packed"
    GITHUB_REPOSITORY=Some/Fork packaging/npm/pack.sh "$work/fork" >"$work/packed-fork"
    tar -xzOf "$(cat "$work/packed-fork")" package/package.json | grep -F 'git+https://github.com/Some/Fork.git' >/dev/null ||
        fail 'the npm package does not name the repository that it is published from'
    mkdir "$work/npm"
    (cd "$work/npm" && xargs npm install --silent --no-audit --no-fund --offline <"$work/packed")
    npx=$work/npm/node_modules/.bin/copera-upload
    uploads "$npx"
    code=0
    "$npx" --no-such-option 2>/dev/null || code=$?
    [ "$code" -eq 2 ] || fail "the launcher ends with $code, not 2"
    # A signal reaches the program, and its exit code comes back.
    code=0
    head -c 8M /dev/zero >"$work/zeros"
    # shellcheck disable=SC2016
    local-drive sh -c '"$0" --limit-rate 64KiB --log-format json "$1" 2>"$2" &
        until grep -q \"start\" "$2" 2>/dev/null; do sleep 0.05; done
        kill -TERM $!; wait $!' "$npx" "$work/zeros" "$work/said" 2>/dev/null || code=$?
    [ "$code" -eq 143 ] || fail "after SIGTERM the launcher ends with $code, not 143"
    (cd "$work/npm" && npm uninstall --silent --no-audit --no-fund --offline copera-upload)
    [ ! -e "$npx" ] || fail 'npm leaves the launcher behind'
    rm -r "$work/npm/node_modules/@copera-ai"
    node packaging/npm/launcher.js 2>"$work/said" && fail 'the launcher runs without a program'
    grep -q hint "$work/said" || fail 'the launcher does not say what to do'
fi

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
if [ "$target" != x86_64-unknown-linux-musl ]; then
    skip 'container image' 'this is not Linux on x86-64'
elif ! rustup target list --installed 2>/dev/null | grep -x "$target" >/dev/null; then
    skip 'container image' "Rust's target $target is not installed"
elif ! as_root true 2>/dev/null; then
    skip 'container image' 'only root can build it, and sudo asks for a password'
elif part 'container image' buildah musl-gcc; then
    cargo build --quiet --locked --package copera-upload --target "$target"
    mkdir -p "$work/context" "$work/volume"
    packaging/image.sh "$CARGO_TARGET_DIR/$target/debug/copera-upload" "$work/context/amd64.tar"
    storage() {
        as_root buildah --root "$work/containers" --runroot "$work/containers-run" --storage-driver vfs "$@"
    }
    trap 'kill $server 2>/dev/null || true; as_root rm -rf "$work"' EXIT
    storage bud --quiet --isolation chroot --build-arg TARGETARCH=amd64 --file packaging/Dockerfile \
        --tag copera-upload "$work/context" >/dev/null
    container=$(storage from copera-upload)
    files=$(storage mount "$container")
    [ "$(as_root find "$files" -type f | wc -l)" -eq 1 ] || fail 'the image has more than the program'
    # What `docker run -i --user 1000 --network host -v "$PWD:/work" -e … copera-upload hello.txt` does.
    in_container() {
        storage run --isolation chroot --network host --user 1000 --volume "$work/volume:/work" \
            --env "COPERA_TOKEN=$COPERA_TOKEN" --env "COPERA_API_URL=$COPERA_API_URL" "$container" -- \
            /usr/local/bin/copera-upload "$@"
    }
    export -f as_root in_container storage
    export container work
    echo hello >"$work/volume/hello.txt"
    # shellcheck disable=SC2016
    uploads bash -c 'in_container "$@"' --
    ! grep -q warning "$work/said" || { cat "$work/said" >&2; fail 'the container cannot keep records'; }
    # shellcheck disable=SC2016
    echo hello | local-drive bash -c 'in_container --name hello.txt -' >/dev/null 2>"$work/said" ||
        { cat "$work/said" >&2; fail 'the container does not upload standard input'; }
    storage rm "$container" >/dev/null
fi

if part 'GitHub action' jq; then
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
    INPUT_PATH='deep/**' INPUT_TO=Reports/2026 act 0
    [ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 2 ] || fail "deep/** is not its two files"
    mkdir -p hollow/dir
    INPUT_PATH=$'deep/**\nhollow/**' act 2
    grep -qF "::error::'hollow/**' matches no file" "$work/stdout" || fail 'a glob without files is passed over'
    INPUT_PATH=deep INPUT_RECURSIVE=true INPUT_EXCLUDE='er ' INPUT_LIMIT_RATE=1MiB act 0
    [ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 1 ] || fail 'exclude does not leave out'
    INPUT_PATH=deep INPUT_RECURSIVE=yes act 2
    INPUT_PATH=deep INPUT_RECURSIVE=true INPUT_LIMIT_RATE=fast act 2
    grep -q '^::error::' "$work/stdout" || fail 'a wrong option is no error of the job'
    INPUT_PATH=$'a b.txt\nnot-there' act 9
    [ "$(grep -c '^[0-9a-f]\{24\}$' "$GITHUB_OUTPUT")" -eq 1 ] || fail 'what was done is not told'
    INPUT_PATH='' act 2
fi

printf -- '-- tried: %s\n' "${tried[@]}"
if [ ${#missing[@]} -gt 0 ]; then
    printf -- '-- NOT tried: %s\n' "${missing[@]}"
    [ -z "${TRY_ALL:-}" ] || fail 'TRY_ALL is set, and not all was tried'
fi
echo '-- all well'
