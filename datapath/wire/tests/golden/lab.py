"""Network namespaces, sockets inside them and packet capture, for the scripts that make golden packets."""

import contextlib
import ctypes
import os
import struct
import subprocess
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def sh(command):
    subprocess.run(command, shell=True, check=True)


@contextlib.contextmanager
def lab(*names):
    """Makes one namespace per name, unique to this process, and deletes them afterwards."""
    spaces = [f"golden-{os.getpid()}-{name}" for name in names]
    try:
        for space in spaces:
            sh(f"ip netns add {space} && ip -n {space} link set lo up")
            sh(f"ip netns exec {space} sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        yield spaces
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


@contextlib.contextmanager
def inside(space):
    """Sockets opened in this block belong to the namespace."""
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{space}") as there:
        LIBC.setns(there.fileno(), CLONE_NEWNET)
        try:
            yield
        finally:
            LIBC.setns(home.fileno(), CLONE_NEWNET)


def join(left, left_if, left_cidr, right, right_if, right_cidr):
    """A veth pair without offloads: what is captured is what a real network card would send."""
    sh(f"ip -n {left} link add {left_if} type veth peer name {right_if} netns {right}")
    for space, interface, cidr in [(left, left_if, left_cidr), (right, right_if, right_cidr)]:
        sh(f"ip netns exec {space} ethtool -K {interface} tx off gso off tso off gro off >/dev/null")
        sh(f"ip -n {space} addr add {cidr} dev {interface} && ip -n {space} link set {interface} up")
    for space, interface in [(left, left_if), (right, right_if)]:
        sh(f"until ip -n {space} link show {interface} | grep -q 'state UP'; do sleep 0.05; done")


class Capture:
    """All frames of some interfaces of one namespace, as (interface, is_outgoing, bytes), in order per interface.

    tcpdump copies frames as they pass. A plain packet socket would not do: it shares their memory with the stack, and
    shows what NAT made of a fragment in the place of what came in.
    """

    def __init__(self, space, *interfaces):
        self.directory = tempfile.TemporaryDirectory()
        self.taps, self.processes = [], []
        for interface, direction in [(i, d) for i in interfaces for d in ("in", "out")]:
            path = f"{self.directory.name}/{interface}.{direction}"
            command = ["tcpdump", "-n", "-i", interface, "-Q", direction, "-U", "--immediate-mode", "-w", path]
            self.processes.append(subprocess.Popen(["ip", "netns", "exec", space, *command], stderr=subprocess.DEVNULL))
            self.taps.append([interface, direction == "out", path, 24])
        while not all(os.path.exists(tap[2]) and os.path.getsize(tap[2]) >= 24 for tap in self.taps):
            time.sleep(0.05)

    def frames(self):
        """What came since the last time."""
        time.sleep(0.5)
        frames = []
        for tap in self.taps:
            interface, outgoing, path, offset = tap
            data = open(path, "rb").read()
            while offset < len(data):
                length = struct.unpack_from("=I", data, offset + 8)[0]
                frames.append((interface, outgoing, data[offset + 16:offset + 16 + length]))
                offset += 16 + length
            tap[3] = offset
        return frames

    def close(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        self.directory.cleanup()


def write(path, comments, packets):
    """One golden file: comment lines, then `label hex` lines."""
    with open(path, "w") as out:
        for comment in comments:
            out.write(f"# {comment}\n")
        for label, data in packets:
            out.write(f"{label} {data.hex()}\n")
    print(f"{os.path.basename(path)}: {', '.join(f'{label} {len(data)}' for label, data in packets)}")


def settle(seconds=0.3):
    time.sleep(seconds)
