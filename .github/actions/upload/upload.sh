#!/usr/bin/env bash
# The action's upload: inputs in INPUT_…, the token in COPERA_TOKEN; outputs, summary and exit code as GitHub wants
# them. jq and curl are on all of GitHub's runners.
set -euo pipefail

# Every line of a secret has to be masked by itself.
while IFS= read -r line; do
    # In a command's value the runner reads %25 as %.
    [ -z "$line" ] || echo "::add-mask::${line//%/%25}"
done <<<"$COPERA_TOKEN"

options=(--output report --if-exists "${INPUT_IF_EXISTS:-upload}")
[ -z "${INPUT_TO:-}" ] || options+=(--to "$INPUT_TO")
[ -z "${INPUT_PARENT:-}" ] || options+=(--parent "$INPUT_PARENT")
[ -z "${INPUT_NAME:-}" ] || options+=(--name "$INPUT_NAME")
[ -z "${INPUT_LIMIT_RATE:-}" ] || options+=(--limit-rate "$INPUT_LIMIT_RATE")
case ${INPUT_RECURSIVE:-} in
[Tt]rue | TRUE) options+=(--recursive) ;;
'' | [Ff]alse | FALSE) ;;
*) echo "::error::the input 'recursive' is true or false"; exit 2 ;;
esac
# macOS has bash 3.2: no case changes by the shell.
filters() {
    while IFS= read -r line; do
        read -r line <<<"$line" || true
        [ -z "$line" ] || options+=("$1" "$line")
    done <<<"$2"
}
filters --include "${INPUT_INCLUDE:-}"
filters --exclude "${INPUT_EXCLUDE:-}"

# `**` goes through directories, in a bash that has it.
shopt -s globstar 2>/dev/null && deep=yes || deep=no
paths=()
while IFS= read -r line; do
    # Without the blanks around it, which no editor shows.
    read -r line <<<"$line" || true
    [ -n "$line" ] || continue
    # A glob is expanded, spaces stay; one that matches nothing is left for the program to complain of.
    old=$IFS IFS=''
    # shellcheck disable=SC2206
    found=($line)
    IFS=$old
    case $line in
    *'**'*)
        [ "$deep" = yes ] || { echo "::error::this runner's bash has no '**': name the directory, and set recursive"; exit 2; }
        # Directories are on the way only: what is in them is found by itself.
        some=no
        for path in "${found[@]}"; do [ -d "$path" ] || { paths+=("$path"); some=yes; }; done
        [ "$some" = yes ] || { echo "::error::'$line' matches no file"; exit 2; }
        ;;
    *) paths+=("${found[@]}") ;;
    esac
done <<<"$INPUT_PATH"
[ "${#paths[@]}" -gt 0 ] || { echo "::error::the input 'path' is empty"; exit 2; }

report=$(mktemp)
trap 'rm -f "$report"' EXIT
code=0
copera-upload "${options[@]}" -- "${paths[@]}" >"$report" || code=$?
if [ "$code" != 0 ] && [ ! -s "$report" ]; then
    # No file was looked at: the options, the configuration or the token are at fault, and the log says which.
    echo "::error::copera-upload ended with exit code $code"
    exit "$code"
fi

# An item's page: https://app.copera.ai/<workspace>/drive/c/<id>. The token goes in by a file: arguments can be seen.
# A URL without a path gets the API's, as the program has it.
api=${COPERA_API_URL:-https://api.copera.ai/public/v1}
api=${api%/}
case ${api#*://} in */*) ;; *) api=$api/public/v1 ;; esac
slug=
if jq -es 'any(.[]; .item)' "$report" >/dev/null; then
    slug=$(printf 'header = "Authorization: Bearer %s"\n' "$COPERA_TOKEN" |
        curl -sf --max-time 30 --config - "$api/workspace/info" | jq -r '.slug // empty') || slug=
fi

# A delimiter that no value can have guessed.
end=end-$RANDOM$RANDOM$RANDOM$RANDOM
output() {
    printf '%s<<%s\n' "$1" "$end"
    cat
    printf '%s\n' "$end"
}
{
    jq -r '.item // empty | ._id // .id' "$report" | output id
    jq -c '.item // empty' "$report" | output json
    jq -r --arg slug "$slug" '.item // empty | select($slug != "") |
        "https://app.copera.ai/\($slug)/drive/c/\(._id // .id)"' "$report" | output url
} >>"$GITHUB_OUTPUT"

{
    echo '### Copera Drive'
    echo
    echo '| File | Status | Bytes | Item |'
    echo '|---|---|---|---|'
    jq -r --arg slug "$slug" '
        # A name is shown, and never read as Markdown.
        def cell: tostring | gsub("[\n\r\t]"; " ") | gsub("(?<sign>[\\\\`*_{}\\[\\]()#!|<>~&:])"; "\\\(.sign)");
        def id: .item | if . then (._id // .id) else null end;
        "| \(.path | cell) | \(.status)\(if .error then ": " + (.error.message | cell) else "" end) | \(.bytes) | " +
        (if id == null then "" elif $slug == "" then id
         else "[\(id)](https://app.copera.ai/\($slug)/drive/c/\(id))" end) + " |"' "$report"
} >>"$GITHUB_STEP_SUMMARY"

exit "$code"
