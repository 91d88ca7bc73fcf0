#!/bin/sh
# Packs a built program with what belongs to it: archive.sh TARGET PROGRAM FOLDER. Prints the archive's path.
set -eu
target=${1:?target} program=${2:?program} folder=${3:?folder}
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=copera-upload-$version-$target
mkdir -p "$folder/$name"
cp -R "$program" README.md CHANGELOG.md SECURITY.md LICENSE-APACHE LICENSE-MIT docs completions "$folder/$name/"
cd "$folder"
case $target in
*windows*) 7z a -bso0 "$name.zip" "$name" && printf '%s\n' "$folder/$name.zip" ;;
*) tar -czf "$name.tar.gz" "$name" && printf '%s\n' "$folder/$name.tar.gz" ;;
esac
rm -r "$name"
