#!/usr/bin/env python3
"""A line with a rate, a delay, a queue and loss between the program and a local drive, under the kernel's own TCP.

Two network namespaces are joined by two TUN devices, and this program carries every packet from one to the
other: late, not faster than the rate, through a queue that drops what does not fit, and losing some by chance.
It is for machines whose kernel has no netem. Needs root, Linux and Python 3; touches nothing outside its two
namespaces, which go when it ends. The drive is not on this machine's loopback: uploads need --allow-http.

    cargo build --release --workspace
    truncate -s 100M /tmp/f
    # 100 Mbit/s, 80 ms there and back, one packet in a thousand lost each way
    benches/link/link.py --rate 12.5e6 --delay 40 --loss 0.001 -- target/release/copera-upload --allow-http -v /tmp/f
    # a thin uplink with a second of buffer, and somebody else's upload on it
    benches/link/link.py --rate 262144 --delay 20 --queue 262144 --other -- target/release/copera-upload --allow-http -v /tmp/f

At the end it prints the share of the line that was carried (headers and repeats included), the mean and largest
queue and, with --other, what the other upload got; with --tell a line a second.
"""

import argparse, ctypes, fcntl, heapq, os, random, select, signal, struct, subprocess, sys, time

NEAR, FAR = f"near{os.getpid()}", f"far{os.getpid()}"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def sh(command):
    subprocess.run(command, shell=True, check=True)


def enter(namespace):
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def tun(namespace):
    """A TUN device inside `namespace`, opened from there, so that its other end is in our hands."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    enter(there)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    enter(home)
    os.close(home)
    os.close(there)
    return device


def lay(congestion):
    for namespace, address, peer in ((NEAR, "10.9.0.1", "10.9.0.2"), (FAR, "10.9.0.2", "10.9.0.1")):
        sh(f"ip netns add {namespace}")
        ends.append(tun(namespace))
        inside = f"ip netns exec {namespace}"
        sh(f"{inside} ip link set lo up")
        sh(f"{inside} ip addr add {address} peer {peer} dev line")
        sh(f"{inside} ip link set line up txqueuelen 10000")
        sh(f"{inside} sysctl -qw net.ipv4.tcp_no_metrics_save=1 'net.ipv4.tcp_rmem=4096 131072 16777216'"
           f" 'net.ipv4.tcp_wmem=4096 65536 16777216'")
    sh(f"ip netns exec {NEAR} ip route replace 10.9.0.2 dev line src 10.9.0.1 congctl lock {congestion}")


class Way:
    """One direction."""

    def __init__(self, rate, delay, queue, loss, dice):
        self.rate, self.delay, self.queue, self.loss, self.dice = rate, delay, queue, loss, dice
        self.free_at, self.carried, self.dropped, self.lost = 0.0, 0, 0, 0

    def due(self, size, now):
        """When a packet that comes now arrives; None: never."""
        start = max(now, self.free_at)
        if (start - now) * self.rate + size > self.queue:
            self.dropped += 1
            return None
        self.free_at = start + size / self.rate
        self.carried += size
        # Lost behind the bottleneck: it has taken its time on the line.
        if self.dice.random() < self.loss:
            self.lost += 1
            return None
        return self.free_at + self.delay


def carry(options, child):
    dice = random.Random(options.seed)
    up = Way(options.rate, options.delay / 1e3, options.queue, options.loss, dice)
    down = Way(options.down or max(options.rate, 12.5e6), options.delay / 1e3, 4e6, options.loss, dice)
    to, way = {ends[0]: ends[1], ends[1]: ends[0]}, {ends[0]: up, ends[1]: down}
    flying, order = [], 0
    begun = told = time.monotonic()
    before, queues, looked = 0, [], begun
    while child.poll() is None:
        wait = 0.1
        if flying:
            wait = min(max(flying[0][0] - time.monotonic(), 0), wait)
        for end in select.select(ends, [], [], wait)[0]:
            now = time.monotonic()
            for _ in range(64):
                try:
                    packet = os.read(end, 2048)
                except BlockingIOError:
                    break
                due = way[end].due(len(packet), now)
                if due is not None:
                    order += 1
                    heapq.heappush(flying, (due, order, to[end], packet))
        now = time.monotonic()
        while flying and flying[0][0] <= now:
            _, _, end, packet = heapq.heappop(flying)
            try:
                os.write(end, packet)
            except OSError:
                pass
        if now >= looked + 0.02:
            queues.append(max(up.free_at - now, 0))
            looked = now
        if now >= told + 1:
            if options.tell:
                print(f"line {now - begun:5.1f} s: {(up.carried - before) / (now - told) / up.rate:6.1%} of the line, "
                      f"queue {sum(queues[-50:]) / 50 * 1e3:.0f} ms", file=sys.stderr, flush=True)
            told, before = now, up.carried
    took = time.monotonic() - begun
    queues = queues or [0]
    print(f"line: {took:.2f} s, carried {up.carried / 2**20:.1f} MiB = {up.carried / took / up.rate:.1%} of the line, "
          f"queue mean {sum(queues) / len(queues) * 1e3:.0f} ms, most {max(queues) * 1e3:.0f} ms, "
          f"{up.lost} lost, {up.dropped} dropped", file=sys.stderr)


SINK = """
import socket, threading
server = socket.create_server(("10.9.0.2", 9))
def sink(peer):
    while peer.recv(65536): pass
while True: threading.Thread(target=sink, args=(server.accept()[0],), daemon=True).start()
"""
SOURCE = """
import fcntl, socket, struct, sys, time, termios
peer = socket.create_connection(("10.9.0.2", 9))
peer.setsockopt(6, 25, 65536)
begun, sent = time.monotonic(), 0
def tell(*_):
    queued = struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, b"1234"))[0]
    took = time.monotonic() - begun
    print(f"other: {(sent - queued) / took / float(sys.argv[1]):.1%} of the line over {took:.0f} s", file=sys.stderr)
    sys.exit()
import signal
signal.signal(signal.SIGTERM, tell)
while True: sent += peer.send(b"x" * 16384)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="bytes a second upwards, headers included")
    parser.add_argument("--down", type=float, help="and downwards [default: the same, 12.5e6 at least]")
    parser.add_argument("--delay", type=float, default=0, help="milliseconds each way")
    parser.add_argument("--queue", type=float, default=1e6, help="bytes that wait at most [default: 1e6]")
    parser.add_argument("--loss", type=float, default=0, help="share of packets lost each way")
    parser.add_argument("--congestion", default="cubic", help="cubic, bbr, reno")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other", action="store_true", help="one other upload on the same line")
    parser.add_argument("--tell", action="store_true", help="a line a second")
    parser.add_argument("--drive", default="target/release/local-drive")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    others = []
    # So that what was laid is taken up again, however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        lay(options.congestion)
        if options.other:
            others.append(subprocess.Popen(["ip", "netns", "exec", FAR, sys.executable, "-c", SINK]))
            time.sleep(0.5)
            others.append(subprocess.Popen(
                ["ip", "netns", "exec", NEAR, sys.executable, "-c", SOURCE, str(options.rate)]))
        child = subprocess.Popen(["ip", "netns", "exec", FAR, options.drive, "--discard", "--address", "10.9.0.2",
                                  "ip", "netns", "exec", NEAR, *options.command])
        carry(options, child)
        return child.returncode
    finally:
        for other in reversed(others):
            other.send_signal(signal.SIGTERM)
            other.wait()
        for namespace in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


ends = []
if __name__ == "__main__":
    sys.exit(main())
