#!/bin/sh
# Packs the files of the container image: image.sh PROGRAM FILE.tar
# A Dockerfile without a shell has no way to set the mode of a directory, so the image is made from a tar file.
set -eu
program=${1:?program} file=${2:?file}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 755 "$program" "$root/usr/local/bin/copera-upload"
# `docker run --user` may run the program as anybody: standard input is spooled in /tmp, records are kept in HOME.
install -d -m 1777 "$root/tmp" "$root/home/copera"
install -d -m 755 "$root/home" "$root/work"
tar --create --file "$file" --directory "$root" --owner 0 --group 0 --numeric-owner home tmp usr work
