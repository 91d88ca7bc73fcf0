#!/usr/bin/env python3
"""The README's picture: the program at work on a real terminal, recorded by tmux and drawn as SVG.

    cargo build --release --workspace
    packaging/picture.py > docs/picture.svg

A local drive that takes its time stands in for the service. Needs tmux.
"""

import html, os, re, subprocess, tempfile, time

COLUMNS, ROWS, WIDE, HIGH = 88, 17, 8.4, 19
PALETTE = ["#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4"]
TEXT, GROUND = "#c9d1d9", "#0d1117"
RELEASE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "target", "release"))


def tmux(*words):
    return subprocess.run(["tmux", "-L", "picture", *words], check=True, capture_output=True, text=True).stdout


def record():
    with tempfile.TemporaryDirectory() as home:
        for name, size in (("holiday.mov", 160), ("slides.key", 48), ("notes.pdf", 3)):
            subprocess.run(f"head -c {size}M /dev/urandom > {home}/{name}", shell=True, check=True)
        shell = f"cd {home} && PS1='$ ' PATH={RELEASE}:$PATH HOME={home} XDG_STATE_HOME={home}/s sh"
        tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "sh", "-c",
             f"{RELEASE}/local-drive --fault put-part:slow=3MiB sh -c \"{shell}\"")
        try:
            wait(r"\$$")
            tmux("send-keys", "copera-upload -j 6 -o id *", "Enter")
            # Far enough that some parts are done and a rate is known.
            wait(r"files.*\b[4-6]\d%")
            return tmux("capture-pane", "-p", "-e")
        finally:
            tmux("kill-server")


def wait(pattern):
    for _ in range(1200):
        if re.search(pattern, tmux("capture-pane", "-p"), re.M):
            return
        time.sleep(0.05)
    raise SystemExit("the program did not show " + pattern + ":\n" + tmux("capture-pane", "-p"))


def draw(screen):
    lines = screen.rstrip("\n").split("\n")
    width, height = COLUMNS * WIDE + 40, len(lines) * HIGH + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
           f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14">',
           f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>']
    out += [f'<circle cx="{22 + 20 * i}" cy="20" r="6" fill="{c}"/>' for i, c in enumerate(("#ff5f57", "#febc2e", "#28c840"))]
    style = {}
    for row, line in enumerate(lines):
        column, spans = 0, []
        for code, text in re.findall(r"\x1b\[([\d;]*)m|([^\x1b]+)", line):
            if text:
                spans.append((column, text, dict(style)))
                column += len(text)
                continue
            for number in map(int, (code or "0").split(";")):
                if number == 0:
                    style.clear()
                elif number == 1:
                    style["font-weight"] = "bold"
                elif number == 2:
                    style["opacity"] = ".6"
                elif 30 <= number <= 37:
                    style["fill"] = PALETTE[number - 30]
                elif 90 <= number <= 97:
                    style["fill"] = PALETTE[number - 90]
                elif number == 39:
                    style.pop("fill", None)
                elif number == 22:
                    style.pop("font-weight", None), style.pop("opacity", None)
        for column, text, look in spans:
            if text.strip():
                look = "".join(f' {name}="{value}"' for name, value in {"fill": TEXT, **look}.items())
                out.append(f'<text x="{20 + column * WIDE:.1f}" y="{52 + row * HIGH}" xml:space="preserve" '
                           f'textLength="{len(text) * WIDE:.1f}"{look}>{html.escape(text)}</text>')
    return "\n".join([*out, "</svg>"])


if __name__ == "__main__":
    print(draw(record()))
