#!/usr/bin/env python3
"""Makes the golden IPv6 packets in this directory (`six_*`) from what the Linux kernel sends, and beside each what the
same kernel sends over IPv4 in the same place. Needs root, ethtool; run by hand.

client 2001:db8:1::2, 198.18.0.2 --c0-- router --s0-- server 2001:db8:2::11, 10.0.0.11
The router's s0 has an MTU of 1400, so that it tells of it. Packets are taken on c0 and s0 without the Ethernet header.
"""

import os
import platform
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Capture, inside, join, lab, settle, sh, write

HERE = os.path.dirname(os.path.abspath(__file__))
HOW = f"captured by capture6.py from Linux {'.'.join(platform.release().split('.')[:2])}"
SERVER = {socket.AF_INET6: "2001:db8:2::11", socket.AF_INET: "10.0.0.11"}
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTU_DONT, PMTU_PROBE = 10, 23, 0, 3


def build(client, router, server):
    for space in (client, router, server):
        sh(f"ip netns exec {space} sysctl -qw net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0"
           " net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
    join(client, "eth0", "198.18.0.2/24", router, "c0", "198.18.0.1/24")
    join(server, "eth0", "10.0.0.11/24", router, "s0", "10.0.0.3/24")
    sh(f"ip -n {client} addr add 2001:db8:1::2/64 dev eth0 && ip -n {router} addr add 2001:db8:1::1/64 dev c0")
    sh(f"ip -n {server} addr add 2001:db8:2::11/64 dev eth0 && ip -n {router} addr add 2001:db8:2::3/64 dev s0")
    sh(f"ip -n {client} route add default via 198.18.0.1 && ip -n {server} route add default via 10.0.0.3")
    sh(f"ip -n {client} route add default via 2001:db8:1::1 && ip -n {server} route add default via 2001:db8:2::3")
    settle(2)


def opened(space, family, kind, port=0):
    with inside(space):
        sock = socket.socket(family, kind)
    sock.bind(("", port))
    return sock


def pmtu(sock, family, mode):
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if family == socket.AF_INET6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    sock.setsockopt(level, option, mode)


def hops(sock, family, count):
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if family == socket.AF_INET6 else (socket.IPPROTO_IP, socket.IP_TTL)
    sock.setsockopt(level, option, count)


class Wire:
    """The client's side of the router."""

    def __init__(self, router):
        self.capture = Capture(router, "c0")

    def take(self, family):
        """Packets of that family but for neighbour discovery: from the client, to the client."""
        kind = b"\x86\xdd" if family == socket.AF_INET6 else b"\x08\x00"
        seen = {False: [], True: []}
        for _, outgoing, frame in self.capture.frames():
            discovery = frame[20] == 58 and frame[54] in range(130, 144) or frame[20] == 0
            if frame[12:14] == kind and not (family == socket.AF_INET6 and discovery):
                seen[outgoing].append(frame[14:])
        return seen[False], seen[True]


def both(name, comment, scene):
    """Plays the scene over both families: each gives labelled packets."""
    packets = [(f"{prefix}_{label}", data)
               for family, prefix in ((socket.AF_INET6, "six"), (socket.AF_INET, "four"))
               for label, data in scene(family)]
    write(f"{HERE}/{name}.hex", [comment, HOW], packets)


def main():
    with lab("c", "r", "s") as (client, router, server):
        build(client, router, server)
        wire = Wire(router)

        def stream(family):
            listener = opened(server, family, socket.SOCK_STREAM, 8000)
            listener.listen()
            user = opened(client, family, socket.SOCK_STREAM, 40000)
            user.connect((SERVER[family], 8000))
            user.sendall(b"GET / HTTP/1.0\r\n\r\n.")
            settle()
            ahead, back = wire.take(family)
            return [("syn", ahead[0]), ("syn_ack", back[0]), ("data", ahead[2])]

        def refused(family):
            opened(client, family, socket.SOCK_DGRAM, 40001).sendto(b"nobody there", (SERVER[family], 9))
            ahead, back = wire.take(family)
            return [("datagram", ahead[0]), ("error", back[0])]

        def short_lived(family):
            user = opened(client, family, socket.SOCK_DGRAM, 40002)
            hops(user, family, 1)
            user.sendto(b"short life", (SERVER[family], 9))
            ahead, back = wire.take(family)
            return [("datagram", ahead[0]), ("error", back[0])]

        def too_big(family):
            user = opened(client, family, socket.SOCK_DGRAM, 40003)
            pmtu(user, family, PMTU_PROBE)
            user.sendto(bytes(1450), (SERVER[family], 9))
            ahead, back = wire.take(family)
            return [("datagram", ahead[0]), ("error", back[0])]

        def pieces(family):
            user = opened(client, family, socket.SOCK_DGRAM, 40004)
            pmtu(user, family, PMTU_DONT)
            user.sendto(bytes(i % 251 for i in range(2000)), (SERVER[family], 9))
            ahead, _ = wire.take(family)
            return [("first", ahead[0]), ("later", ahead[1])]

        def echo(family):
            kind = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
            with inside(client):
                sock = socket.socket(family, socket.SOCK_DGRAM, kind)
            sock.bind(("", 77))
            request = 128 if family == socket.AF_INET6 else 8
            sock.sendto(bytes([request, 0, 0, 0, 0, 0, 0, 1]) + b"sixteen bytes...!", (SERVER[family], 0))
            ahead, back = wire.take(family)
            return [("request", ahead[0]), ("reply", back[0])]

        sh(f"ip netns exec {client} sysctl -qw net.ipv4.ping_group_range='0 2147483647'")
        both("six_tcp", "handshake and data of odd length", stream)
        both("six_udp_refused", "a datagram to a port where nobody listens, and what the server says", refused)
        both("six_fragments", "a datagram of 2000 bytes in two fragments", pieces)
        both("six_echo", "an echo request of odd length and its reply", echo)
        both("six_time_exceeded", "a datagram with one hop to go, and what the router says", short_lived)
        sh(f"ip -n {router} link set s0 mtu 1400")
        both("six_too_big", "a datagram of 1450 bytes for an MTU of 1400, and what the router says", too_big)
        wire.capture.close()


if __name__ == "__main__":
    main()
