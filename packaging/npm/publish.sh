#!/bin/sh
# Publishes a release to npm: publish.sh PROGRAMS [OPTION...]
# PROGRAMS holds the program of each target in a folder of its own, program-TARGET, as the release workflow stores them.
# The options go to `npm publish`. A package that npm has in this version is skipped, so a release that failed halfway can
# be run again.
set -eu
programs=${1:?folder}
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Artifacts of a workflow lose their mode.
chmod +x "$programs"/program-*/*
for program in "$programs"/program-*/*; do
    target=${program%/*}
    printf '%s=%s\n' "${target##*/program-}" "$program"
done >"$work/programs"
xargs "$here/pack.sh" "$work" <"$work/programs" >"$work/packages"
while read -r package; do
    name=$(tar -xzOf "$package" package/package.json | jq -r '"\(.name)@\(.version)"')
    # Nothing, or an error, for what npm does not have.
    if [ -n "$(npm view "$name" version 2>/dev/null || true)" ]; then
        printf '%s is published already\n' "$name"
        continue
    fi
    # 1.0.0-rc.1 is to be tried, and not what everybody gets.
    case ${name##*@} in *-*) tag=next ;; *) tag=latest ;; esac
    npm publish "$package" --tag "$tag" "$@" </dev/null
done <"$work/packages"
