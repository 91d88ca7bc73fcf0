#!/usr/bin/env bash
# Tries the Windows build on Linux: cross-builds it, and has the integration tests start it under Wine instead of the
# native program. The tests and their drive stay native.
#
#     try-windows.sh            all that makes sense there
#     try-windows.sh quick      what CI runs of it
#     try-windows.sh FILTER...  tests whose names have one of these in them
#
# Needs Wine, MinGW-w64 and the target. Debian: apt-get install --no-install-recommends wine wine64
# gcc-mingw-w64-x86-64; rustup target add x86_64-pc-windows-gnu. `try-windows.sh can` only says what is missing, with
# exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-pc-windows-gnu
# Not `wine`, which may be a script: a kill has to hit the program itself.
loader=
for found in /usr/lib/wine/wine64 "$(command -v wine64 || true)" "$(command -v wine || true)"; do
    [ -x "$found" ] && loader=$found && break
done

missing=()
[ -n "$loader" ] && command -v wineserver >/dev/null && command -v wineboot >/dev/null || missing+=(Wine)
command -v x86_64-w64-mingw32-gcc >/dev/null || missing+=(MinGW-w64)
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || missing+=("Rust's target $target")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'not there: %s\n' "${missing[@]}"
    exit 1
fi
[ "${1:-}" = can ] && exit 0

# Not under Wine, by module, and why. Single tests say it themselves (`unix_only!`).
skipped=(
    'completions  shells of Unix'
    'limits       limits and background jobs of Unix'
    'login        files and signals of Unix'
    'login_prompt terminals of Unix'
    'memory       memory of Wine would be counted too'
    'pipes        pipes and processes of Unix'
    'proxies      Wine 8 cannot check certificates as rustls-platform-verifier asks it to'
    'signals      signals of Unix; Wine has no Ctrl-C without a console'
    'terminal     terminals of Unix'
    'tls          Wine 8 cannot check certificates as rustls-platform-verifier asks it to'
)
# What CI has time for.
quick=(basics:: changes:: concurrent_runs:: config:: errors:: existing:: finalize:: integrity:: local_files:: names::
    results:: resume::)

work=$(mktemp -d)
export WINEPREFIX=$work/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml=' LC_ALL=C.UTF-8
trap 'wineserver -k 2>/dev/null || true; rm -rf "$work"' EXIT

cargo build --locked --package copera-upload --target "$target"
programs=${CARGO_TARGET_DIR:-$PWD/target}/$target/debug
x86_64-w64-mingw32-gcc -shared -o "$programs/bcryptprimitives.dll" packaging/wine/bcryptprimitives.c -ladvapi32
tests=$(cargo test --workspace --no-run --locked --message-format=json |
    sed -n "\\|\"manifest_path\":\"$PWD/Cargo.toml\".*\"name\":\"it\"|s/.*\"executable\":\"\\([^\"]*\\)\".*/\\1/p")

# Wine without a screen, started once: its first program also starts services, which keep that one's streams open.
{
    wineboot -i
    wineserver -p
    # Windows has its directories from the registry, not from variables. Here each test gives its own.
    folders='HKCU\Software\Microsoft\Windows\CurrentVersion\Explorer\User Shell Folders'
    # FOLDERID_Profile
    wine reg add "$folders" /f /v '{5E6C858F-0E22-4760-9AFE-EA3317B67173}' /t REG_EXPAND_SZ /d '%COPERA_TEST_USERPROFILE%'
    wine reg add "$folders" /f /v AppData /t REG_EXPAND_SZ /d '%COPERA_TEST_APPDATA%'
    wine reg add "$folders" /f /v 'Local AppData' /t REG_EXPAND_SZ /d '%COPERA_TEST_LOCALAPPDATA%'
    for name in TEMP TMP; do
        wine reg add 'HKCU\Environment' /f /v "$name" /t REG_EXPAND_SZ /d '%COPERA_TEST_TEMP%'
    done
} >"$work/wine.log" 2>&1 </dev/null || {
    cat "$work/wine.log" >&2
    exit 1
}

arguments=()
case ${1:-} in
quick) arguments=("${quick[@]}") ;;
*) arguments=("$@") ;;
esac
printf 'not tried under Wine:\n'
for module in "${skipped[@]}"; do
    printf '    %s\n' "$module"
    arguments+=(--skip "${module%% *}::")
done
[ "${1:-}" != quick ] || printf 'tried, of the others: %s\n' "${quick[*]}"
export COPERA_UPLOAD_TEST_WINDOWS=$programs/copera-upload.exe COPERA_UPLOAD_TEST_WINE=$loader
status=0
"$tests" "${arguments[@]}" --show-output --test-threads "${RUST_TEST_THREADS:-8}" >"$work/tests.log" 2>"$work/stderr.log" || status=$?
if [ "$status" -ne 0 ]; then
    cat "$work/tests.log"
else
    # Not the output of tests that passed, of which --show-output makes a list.
    sed '/^successes:$/,$d' "$work/tests.log"
    sed -n 's/^not for Windows: /not tried under Wine: /p' "$work/tests.log"
    sed -n '/^test result/p' "$work/tests.log"
fi
exit "$status"
