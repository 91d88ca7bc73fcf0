#!/bin/sh
# Makes the npm packages of a release: pack.sh FOLDER TARGET=PROGRAM...
# One package for each program, and `copera-upload`, which depends on all of them and starts the right one. Prints the
# packages' paths, `copera-upload` last: it has to be published last.
set -eu
folder=${1:?folder}
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
# npm refuses a provenance statement of another repository, also if only the case differs.
repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
[ -z "${GITHUB_REPOSITORY:-}" ] || repository=https://github.com/$GITHUB_REPOSITORY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

manifest() { # NAME DESCRIPTION, and the rest of the fields on stdin
    cat <<JSON
{
  "name": "$1",
  "version": "$version",
  "description": "$2",
  "license": "MIT OR Apache-2.0",
  "repository": { "type": "git", "url": "git+$repository.git" },
  "homepage": "$repository",
  "publishConfig": { "access": "public" },
$(cat)
}
JSON
}

pack() {
    cp "$root/LICENSE-APACHE" "$root/LICENSE-MIT" "$1"
    (cd "$1" && npm pack --silent --pack-destination "$folder") | sed "s|^|$folder/|"
}

dependencies=
for built in "$@"; do
    target=${built%%=*} program=${built#*=}
    case $target in
    x86_64-*) cpu=x64 ;;
    aarch64-*) cpu=arm64 ;;
    *) echo "pack.sh: no npm name for $target" >&2 && exit 1 ;;
    esac
    case $target in
    *linux*) os=linux ;;
    *darwin*) os=darwin ;;
    *windows*) os=win32 ;;
    esac
    name=@copera-ai/upload-$os-$cpu
    mkdir "$work/$os-$cpu"
    cp "$program" "$work/$os-$cpu/"
    echo "The program of [copera-upload](https://www.npmjs.com/package/copera-upload) for $os on $cpu." \
        >"$work/$os-$cpu/README.md"
    manifest "$name" "copera-upload for $os on $cpu" >"$work/$os-$cpu/package.json" <<JSON
  "os": ["$os"],
  "cpu": ["$cpu"],
  "preferUnplugged": true
JSON
    pack "$work/$os-$cpu"
    dependencies="$dependencies${dependencies:+, }\"$name\": \"$version\""
done

mkdir "$work/main"
cp "$here/launcher.js" "$root/README.md" "$work/main/"
manifest copera-upload 'Upload files to Copera Drive: parallel, resumable, verified' >"$work/main/package.json" <<JSON
  "keywords": ["upload", "s3", "copera", "drive", "cli"],
  "bin": { "copera-upload": "launcher.js" },
  "engines": { "node": ">=18" },
  "optionalDependencies": { $dependencies }
JSON
chmod +x "$work/main/launcher.js"
pack "$work/main"
