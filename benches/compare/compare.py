#!/usr/bin/env python3
"""Compares the program with others on one machine: same files and parts, against a drive that discards the bytes.

    cargo build --release --workspace
    benches/compare/compare.py                    # with s5cmd, rclone, aws and curl, if installed
    benches/compare/compare.py --runs 9 --only big --size 4GiB

All programs use the same part size and number of parts in flight, and the same storage. Ours sends to signed URLs of
the drive's API. curl sends parts that were split beforehand to the same URLs, in one process with --parallel, and the
time to get the URLs does not count. The others use the S3 API. Like S3, the drive computes the MD5 of each part, on
the same CPU, which determines the wall time. So compare CPU time and memory of the clients. The programs take turns,
so that other load on the machine affects all of them. Prints the tables of docs/benchmarks.md. Needs Python 3 and GNU
time.
"""

import argparse, json, os, platform, re, resource, shutil, statistics, subprocess, sys, tempfile, time, urllib.request, ssl

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.join(HERE, "..", "..", "target", "release")
MIB = 1024 * 1024


def size(text):
    number, unit = re.fullmatch(r"(\d+)(KiB|MiB|GiB)?", text).groups()
    return int(number) * {None: 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}[unit]


class Drive:
    """A local drive, and environment variables for its clients."""

    def __init__(self, program, tls):
        self.process = subprocess.Popen([program, "--discard", "--aws"] + ["--tls"] * tls, stdout=subprocess.PIPE,
                                        text=True)
        self.environment = dict(os.environ, AWS_REQUEST_CHECKSUM_CALCULATION="when_required", NO_PROXY="127.0.0.1")
        wanted = 9 if tls else 7
        for _ in range(wanted):
            name, value = self.process.stdout.readline().removeprefix("export ").rstrip("\n").split("=", 1)
            self.environment[name] = value
        self.bucket = f"s3://{self.environment['S3_BUCKET']}"

    def call(self, path, body):
        request = urllib.request.Request(f"{self.environment['COPERA_API_URL']}/drive/files/upload/multipart/{path}",
                                         json.dumps(body).encode(),
                                         {"Authorization": f"Bearer {self.environment['COPERA_TOKEN']}",
                                          "Content-Type": "application/json"})
        trust = self.environment.get("SSL_CERT_FILE") if request.type == "https" else None
        with urllib.request.urlopen(request, context=trust and ssl.create_default_context(cafile=trust)) as answer:
            return json.load(answer)

    def signed(self, name, size, parts):
        upload = self.call("start", {"fileName": name, "fileSize": size, "mimeType": "application/octet-stream"})
        return [part["signedUrl"] for part in self.call("presigned-urls", {**upload, "parts": parts})["parts"]]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measured(command, environment):
    """Wall and CPU seconds, and the peak memory of the largest process in MiB."""
    # The peak that wait4 reports includes the memory of this interpreter.
    with tempfile.NamedTemporaryFile("r") as told:
        timed = ["/usr/bin/time", "-o", told.name, "-f", "%M", *command]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        done = subprocess.run(timed, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wall = time.monotonic() - begun
        if done.returncode != 0:
            sys.exit(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return wall, cpu, float(told.read()) / 1024


# Commands of the programs. `drive` and `work` belong to the current round. `case` is big, small or many.

def copera(drive, work, case):
    options = ["-q", "-o", "none", "--no-resume"]
    if case == "big":
        options += ["--part-size", str(work.part), "-j", str(work.flying)]
    return [work.program, *options, *(["-r", work.many] if case == "many" else [work.file(case)])]


def unchecked(drive, work, case):
    return copera(drive, work, case) + ["--no-checksum"] if case == "big" else None


def s5cmd(drive, work, case):
    head = ["s5cmd", "--endpoint-url", drive.environment["AWS_ENDPOINT_URL"], "--log", "error"]
    if case == "many":
        return head + ["cp", work.many + "/", drive.bucket + "/many/"]
    parts = ["-p", str(work.part // MIB), "-c", str(work.flying)]
    return head + ["cp", *parts, work.file(case), drive.bucket + "/" + case]


def rclone(drive, work, case):
    to = f":s3:{drive.environment['S3_BUCKET']}/{case}"
    options = ["--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", drive.environment["AWS_ENDPOINT_URL"],
               "--s3-no-check-bucket", "--config", "/dev/null", "-q"]
    parts = ["--s3-chunk-size", f"{work.part // MIB}M", "--s3-upload-concurrency", str(work.flying)]
    if case == "many":
        return ["rclone", "copy", work.many, to, "--transfers", "32", "--no-check-dest", *options]
    return ["rclone", "copyto", work.file(case), to, "--no-check-dest", *options, *parts]


def aws(drive, work, case):
    config = os.path.join(work.folder, "aws")
    with open(config, "w") as out:
        out.write(f"[default]\ns3 =\n  multipart_chunksize = {work.part}\n  max_concurrent_requests = {work.flying}\n")
    drive.environment["AWS_CONFIG_FILE"] = config
    head = ["aws", "s3", "cp", "--only-show-errors"]
    if case == "many":
        return head + ["--recursive", work.many, drive.bucket + "/many"]
    return head + [work.file(case), drive.bucket + "/" + case]


def curl(drive, work, case):
    if case != "big":
        return None
    command = ["curl", "-sSf", "--parallel", "--parallel-max", str(work.flying), "-H", "Expect:"]
    if "SSL_CERT_FILE" in drive.environment:
        command += ["--cacert", drive.environment["SSL_CERT_FILE"]]
    for part, url in zip(work.pieces, drive.signed("big", work.size, len(work.pieces))):
        command += ["-T", part, "-o", "/dev/null", url]
    return command


PEERS = [("copera-upload", copera), ("copera-upload --no-checksum", unchecked), ("s5cmd", s5cmd), ("rclone", rclone),
         ("aws", aws), ("curl", curl)]


class Work:
    """The files to upload."""

    def __init__(self, arguments, folder):
        self.program = os.path.abspath(arguments.program)
        self.folder, self.part, self.flying = folder, arguments.part_size, arguments.flying
        self.size = arguments.size
        self.many = os.path.join(folder, "many")
        if "big" in arguments.only:
            subprocess.run(f"head -c {self.size} /dev/urandom > {folder}/big", shell=True, check=True)
        if "big" in arguments.only and shutil.which("curl"):
            subprocess.run(["split", "-b", str(self.part), f"{folder}/big", f"{folder}/piece-"], check=True)
        self.pieces = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("piece-"))
        with open(self.file("small"), "wb") as out:
            out.write(os.urandom(1024))
        os.mkdir(self.many)
        for index in range(1000 if "many" in arguments.only else 0):
            with open(os.path.join(self.many, f"{index:04}"), "wb") as out:
                out.write(os.urandom(16 * 1024))

    def file(self, case):
        return os.path.join(self.folder, case)


def version(name):
    if name == "copera-upload":
        return None
    said = subprocess.run([name, "version" if name in ("s5cmd", "rclone") else "--version"], capture_output=True, text=True)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return f"{name} {found[0]}" if found else name


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=os.path.join(RELEASE, "copera-upload"))
    parser.add_argument("--drive", default=os.path.join(RELEASE, "local-drive"))
    parser.add_argument("--size", type=size, default=size("1GiB"), help="size of the big file [1GiB]")
    parser.add_argument("--part-size", type=size, default=10 * MIB, help="whole MiB [10MiB]")
    parser.add_argument("--flying", type=int, default=8, help="parts in flight [8]")
    parser.add_argument("--runs", type=int, default=5, help="runs of each program, of which the median counts [5]")
    parser.add_argument("--only", nargs="+", choices=["big", "small", "many"], default=["big", "small", "many"])
    parser.add_argument("--peers", nargs="+", default=[name for name, _ in PEERS])
    arguments = parser.parse_args()
    peers = [(name, run) for name, run in PEERS
             if name in arguments.peers and (name.startswith("copera") or shutil.which(name))]

    titles = {"big": f"{arguments.size // MIB} MiB, parts of {arguments.part_size // MIB} MiB, "
                     f"{arguments.flying} in flight",
              "small": "one file of 1 KiB", "many": "1,000 files of 16 KiB"}
    with open("/proc/cpuinfo") as cpus:
        model = re.search(r"model name\s*: (.*)", cpus.read()) if os.path.exists("/proc/cpuinfo") else None
    print(f"{time.strftime('%Y-%m-%d')}, {model[1] if model else platform.machine()}, {os.cpu_count()} cores, "
          f"{platform.system()} {platform.release().split('-')[0]}, median of {arguments.runs}; "
          + ", ".join(filter(None, (version(name) for name, _ in peers if " " not in name))))
    with tempfile.TemporaryDirectory() as folder:
        work = Work(arguments, folder)
        for case in arguments.only:
            for tls in (False, True):
                found = {name: [] for name, _ in peers}
                for turn in range(arguments.runs + 1):
                    drive = Drive(arguments.drive, tls)
                    try:
                        for name, run in peers:
                            command = run(drive, work, case)
                            if command:
                                result = measured(command, drive.environment)
                                # The first turn only warms up caches.
                                found[name] += [result] if turn else []
                    finally:
                        drive.stop()
                table(f"{titles[case]}, {'TLS' if tls else 'HTTP'}", found)


def table(title, found):
    found = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in found.items() if runs}
    ours = found.get("copera-upload")
    print(f"\n| {title} | wall s | CPU s | peak MiB | wall × | CPU × | memory × |")
    print("|---|---|---|---|---|---|---|")
    for name, (wall, cpu, peak) in found.items():
        ratios = [f"{value / own:.1f}" for value, own in zip((wall, cpu, peak), ours)] if ours else ["–"] * 3
        digits = 3 if wall < 1 else 2
        print(f"| {name} | {wall:.{digits}f} | {cpu:.{digits}f} | {peak:.0f} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
