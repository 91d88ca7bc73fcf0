#!/bin/sh
# Prints the Homebrew formula of a release, out of its SHA256SUMS: homebrew.sh VERSION SHA256SUMS
set -eu
version=${1:?version} sums=${2:?SHA256SUMS}

sha() {
    awk -v name="copera-upload-$version-$1.tar.gz" '{ sub(/^\*/, "", $2) } $2 == name { print $1; found = 1 }
        END { if (!found) exit 1 }' "$sums" || {
        printf 'homebrew.sh: %s has no archive for %s\n' "$sums" "$1" >&2
        exit 1
    }
}

mac_arm=$(sha aarch64-apple-darwin)
mac_intel=$(sha x86_64-apple-darwin)
linux_arm=$(sha aarch64-unknown-linux-musl)
linux_intel=$(sha x86_64-unknown-linux-musl)
base="https://github.com/copera-ai/copera-upload/releases/download/v$version/copera-upload-$version"

cat <<FORMULA
class CoperaUpload < Formula
  desc "Upload files to Copera Drive: parallel, resumable, verified"
  homepage "https://github.com/copera-ai/copera-upload"
  version "$version"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url "$base-aarch64-apple-darwin.tar.gz"
      sha256 "$mac_arm"
    end
    on_intel do
      url "$base-x86_64-apple-darwin.tar.gz"
      sha256 "$mac_intel"
    end
  end

  on_linux do
    on_arm do
      url "$base-aarch64-unknown-linux-musl.tar.gz"
      sha256 "$linux_arm"
    end
    on_intel do
      url "$base-x86_64-unknown-linux-musl.tar.gz"
      sha256 "$linux_intel"
    end
  end

  def install
    bin.install "copera-upload"
    man1.install "completions/copera-upload.1"
    bash_completion.install "completions/copera-upload.bash" => "copera-upload"
    zsh_completion.install "completions/_copera-upload"
    fish_completion.install "completions/copera-upload.fish"
  end

  test do
    (testpath/"f").write "hello"
    assert_match "\"size\":5", shell_output("#{bin}/copera-upload --dry-run f")
  end
end
FORMULA
