#!/usr/bin/env python3
"""Makes the golden packets in this directory with a kernel VXLAN device. Needs root and ethtool; run by hand.

left 192.0.2.1 -- right 192.0.2.2, VNI 4096 between them: 10.0.0.3 at the left, 10.0.0.11 at the right.
Frames are as the right end of the underlay receives them, outer Ethernet header included.
"""

import os
import platform
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../../../datapath/wire/tests/golden")
from lab import Capture, inside, join, lab, settle, sh, write

HOW = f"captured by capture.py from Linux {'.'.join(platform.release().split('.')[:2])}"
OUTER_UDP_PORT = slice(14 + 20 + 2, 14 + 20 + 4)


def tunnel(space, local, remote, address, mac, options):
    sh(f"ip -n {space} link add vx0 address {mac} type vxlan id 4096 dstport 4789 local {local} remote {remote} {options}")
    sh(f"ip -n {space} addr add {address}/24 dev vx0 && ip -n {space} link set vx0 up")


def send(space, kind, tos):
    """One TCP SYN or one datagram to the other side; the first of a new pair of hosts asks by ARP before."""
    with inside(space):
        sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    sock.setblocking(False)
    if kind == socket.SOCK_STREAM:
        sock.connect_ex(("10.0.0.11", 8000))
    else:
        sock.sendto(b"hello overlay", ("10.0.0.11", 8000))


def encapsulated(capture):
    return [frame for _, _, frame in capture.frames() if frame[12:14] == b"\x08\x00" and frame[OUTER_UDP_PORT] == b"\x12\xb5"]


def record(device_options, cases):
    with lab("left", "right") as (left, right):
        join(left, "eth0", "192.0.2.1/24", right, "eth0", "192.0.2.2/24")
        tunnel(left, "192.0.2.1", "192.0.2.2", "10.0.0.3", "02:42:0a:00:00:03", device_options)
        tunnel(right, "192.0.2.2", "192.0.2.1", "10.0.0.11", "02:42:0a:00:00:0b", device_options)
        settle()
        capture = Capture(right, "eth0")
        for name, kind, tos in cases:
            send(left, kind, tos)
            from_left = [frame for frame in encapsulated(capture) if frame[26:30] == socket.inet_aton("192.0.2.1")]
            inner = [(frame[14 + 36 + 12:14 + 36 + 14], frame) for frame in from_left]
            comments = [f"kernel vxlan device (id 4096 dstport 4789 {device_options}), inner TOS {tos:#04x}", HOW]
            requests = [frame for ethertype, frame in inner if ethertype == b"\x08\x06"]
            if requests and name == "udp":
                write(f"{HERE}/arp_request.hex", [comments[0], HOW], [("frame", requests[0])])
            write(f"{HERE}/{name}.hex", comments, [("frame", next(f for e, f in inner if e == b"\x08\x00"))])
        capture.close()


def main():
    record("noudpcsum", [("udp", socket.SOCK_DGRAM, 0), ("tcp_syn", socket.SOCK_STREAM, 0)])
    # 0xba: DSCP 46 (expedited forwarding) and ECT(0).
    record("noudpcsum tos inherit", [("udp_tos", socket.SOCK_DGRAM, 0xBA)])
    record("udpcsum", [("udp_outer_checksum", socket.SOCK_DGRAM, 0)])


if __name__ == "__main__":
    main()
