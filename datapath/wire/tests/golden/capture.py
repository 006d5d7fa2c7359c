#!/usr/bin/env python3
"""Makes the golden packets in this directory from what the Linux kernel does. Needs root, nft, ethtool; run by hand.

client 198.18.0.2 --c0-- gateway 198.18.0.1 / 10.0.0.3 --s0-- server 10.0.0.11
The gateway is the kernel: DNAT of the VIP 198.18.9.100 to the server, masquerade behind 10.0.0.3, MSS clamped to 1360.
Packets are IPv4 (the Ethernet header is cut off), taken on the gateway's two interfaces.
"""

import os
import platform
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Capture, inside, join, lab, settle, sh, write

HERE = os.path.dirname(os.path.abspath(__file__))
VIP, GATEWAY, SERVER = "198.18.9.100", "198.18.0.1", "10.0.0.11"
IP_MTU_DISCOVER, PMTU_DONT, PMTU_PROBE, SO_NO_CHECK = 10, 0, 3, 11
HOW = f"captured by capture.py from Linux {'.'.join(platform.release().split('.')[:2])}"
RULES = """
table ip golden {
  chain in {
    type nat hook prerouting priority -100
    ip daddr 198.18.9.100 meta l4proto { tcp, udp } dnat to 10.0.0.11:8000
  }
  chain mss {
    type filter hook forward priority 0
    tcp flags syn tcp option maxseg size set 1360
  }
  chain out {
    type nat hook postrouting priority 100
    ct status dnat meta l4proto { tcp, udp } masquerade to :20000-29999
  }
}
"""


def build(client, gateway, server):
    join(client, "eth0", "198.18.0.2/24", gateway, "c0", "198.18.0.1/24")
    join(server, "eth0", "10.0.0.11/24", gateway, "s0", "10.0.0.3/24")
    sh(f"ip -n {client} route add default via 198.18.0.1 && ip -n {server} route add default via 10.0.0.3")
    sh(f"ip netns exec {gateway} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0")
    sh(f"ip netns exec {gateway} nft -f - <<'END'\n{RULES}\nEND")
    settle()


def udp(space, port=0, **options):
    with inside(space):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option, value in options.items():
        level = socket.SOL_SOCKET if option == "nocheck" else socket.IPPROTO_IP
        number = {"nocheck": SO_NO_CHECK, "pmtu": IP_MTU_DISCOVER, "ttl": socket.IP_TTL, "tos": socket.IP_TOS}[option]
        sock.setsockopt(level, number, value)
    sock.bind(("0.0.0.0", port))
    return sock


def tcp(space):
    with inside(space):
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def raw(space, protocol):
    with inside(space):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmp_error(kind, code, rest, quote):
    head = struct.pack("!BBHI", kind, code, 0, rest)
    return struct.pack("!BBHI", kind, code, checksum(head + quote), rest) + quote


class Wire:
    """The two sides of the gateway."""

    def __init__(self, gateway):
        self.capture = Capture(gateway, "c0", "s0")

    def take(self):
        """IPv4 packets seen since the last time, by (interface, is_outgoing)."""
        seen = {(interface, out): [] for interface in ("c0", "s0") for out in (False, True)}
        for interface, out, frame in self.capture.frames():
            if frame[12:14] == b"\x08\x00":
                seen[interface, out].append(frame[14:])
        return seen

    def to_server(self):
        seen = self.take()
        return seen["c0", False], seen["s0", True]

    def to_client(self):
        seen = self.take()
        return seen["s0", False], seen["c0", True]


def save(name, comments, packets):
    write(f"{HERE}/{name}.hex", [*comments, HOW], packets)


def nat_tcp(wire, client, server):
    listener = tcp(server)
    listener.bind(("0.0.0.0", 8000))
    listener.listen()
    stream = tcp(client)
    stream.connect((VIP, 8080))
    stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
    settle()
    seen = wire.take()
    save("nat_tcp_syn", ["kernel DNAT and masquerade of a SYN; MSS clamped to 1360"],
         [("before", seen["c0", False][0]), ("after", seen["s0", True][0])])
    save("nat_tcp_syn_ack", ["kernel NAT of the SYN-ACK back to the client; MSS clamped to 1360"],
         [("before", seen["s0", False][0]), ("after", seen["c0", True][0])])
    save("nat_tcp_data", ["kernel NAT of a segment with timestamps and an odd length of data"],
         [("before", seen["c0", False][2]), ("after", seen["s0", True][2])])
    return seen["s0", True][0]


def nat_udp(wire, client, server):
    service = udp(server, 8000)
    user = udp(client)
    user.sendto(b"hello gateway", (VIP, 8080))
    _, source = service.recvfrom(2000)
    before, after = wire.to_server()
    save("nat_udp", ["kernel DNAT and masquerade of a datagram"], [("before", before[0]), ("after", after[0])])
    forwarded = after[0]
    service.sendto(b"hello client", source)
    before, after = wire.to_client()
    save("nat_udp_reply", ["kernel NAT of the answer"], [("before", before[0]), ("after", after[0])])

    errors = raw(server, socket.IPPROTO_ICMP)
    errors.sendto(icmp_error(3, 3, 0, forwarded[:28]), ("10.0.0.3", 0))
    before, after = wire.to_client()
    save("nat_icmp_udp_8_bytes", ["kernel NAT of a port unreachable that quotes 8 bytes of UDP (hand-made by the server)"],
         [("before", before[0]), ("after", after[0])])
    user.close()
    service.sendto(b"too late", source)
    seen = wire.take()
    save("nat_icmp_from_client", ["kernel NAT of the client's port unreachable, on its way to the server"],
         [("before", seen["c0", False][0]), ("after", seen["s0", True][0])])
    service.close()

    user = udp(client, nocheck=1)
    user.sendto(b"no checksum", (VIP, 8080))
    seen = wire.take()
    save("nat_udp_no_checksum", ["kernel NAT of a datagram without checksum"],
         [("before", seen["c0", False][0]), ("after", seen["s0", True][0])])
    save("nat_icmp_udp_no_checksum", ["kernel NAT of the server's port unreachable about a datagram without checksum"],
         [("before", seen["s0", False][0]), ("after", seen["c0", True][0])])
    user = udp(client)
    user.sendto(b"nobody there", (VIP, 8080))
    before, after = wire.to_client()
    save("nat_icmp_udp_whole", ["kernel NAT of the server's port unreachable, which quotes the whole datagram"],
         [("before", before[0]), ("after", after[0])])


def nat_icmp_tcp(wire, server, syn):
    errors = raw(server, socket.IPPROTO_ICMP)
    for name, length in [("8_bytes", 28), ("whole", len(syn))]:
        errors.sendto(icmp_error(3, 4, 1400, syn[:length]), ("10.0.0.3", 0))
        before, after = wire.to_client()
        save(f"nat_icmp_tcp_{name}", [f"kernel NAT of a fragmentation needed that quotes {length - 20} bytes of TCP"],
             [("before", before[0]), ("after", after[0])])


def nat_fragments(wire, client, server):
    service = udp(server, 8000)
    udp(client, pmtu=PMTU_DONT).sendto(bytes(i % 251 for i in range(2000)), (VIP, 8080))
    before, after = wire.to_server()
    service.close()
    save("nat_udp_first_fragment", ["kernel NAT of the first fragment of a datagram of 2000 bytes"],
         [("before", before[0]), ("after", after[0])])
    save("nat_udp_later_fragment", ["kernel NAT of its second fragment"], [("before", before[1]), ("after", after[1])])


def errors_of_the_kernel(wire, client, gateway):
    udp(client, ttl=1, tos=0xBA).sendto(b"short life", (SERVER, 9))
    seen = wire.take()
    save("icmp_time_exceeded", ["time exceeded by the kernel about a packet with DSCP 46 and ECT(0)"],
         [("original", seen["c0", False][0]), ("error", seen["c0", True][0])])
    sh(f"ip -n {gateway} link set s0 mtu 1450")
    options = bytes([0x94, 4, 0, 0])  # router alert, which is copied into fragments
    options += bytes([7, 7, 8, 1, 2, 3, 4, 1])  # record route, full, which is not; NOP
    for name, with_options in [("fragments", b""), ("fragments_with_options", options)]:
        user = udp(client, pmtu=PMTU_DONT)
        user.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, with_options)
        user.sendto(bytes(i % 251 for i in range(1472 - len(with_options))), (SERVER, 9))
        before, after = wire.to_server()
        save(name, ["routed to an MTU of 1450 by the kernel, which fragments; no NAT"],
             [("before", before[0]), *((f"after{i}", piece) for i, piece in enumerate(after))])
    udp(client, pmtu=PMTU_PROBE).sendto(bytes(1400 + 72), (SERVER, 9))
    seen = wire.take()
    save("icmp_fragmentation_needed", ["fragmentation needed by the kernel, next MTU 1450"],
         [("original", seen["c0", False][0]), ("error", seen["c0", True][0])])


def resets_and_echo(wire, client):
    try:
        tcp(client).connect((GATEWAY, 9))
    except ConnectionRefusedError:
        pass
    seen = wire.take()
    save("tcp_reset_of_syn", ["the kernel refuses a SYN"],
         [("segment", seen["c0", False][0]), ("reset", seen["c0", True][0])])
    pseudo = socket.inet_aton("198.18.0.2") + socket.inet_aton(GATEWAY) + struct.pack("!BBH", 0, 6, 24)
    segment = struct.pack("!HHIIBBHHH", 4444, 9, 1000, 2000, 0x50, 0x18, 512, 0, 0) + b"data"
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    raw(client, socket.IPPROTO_TCP).sendto(segment, (GATEWAY, 0))
    seen = wire.take()
    save("tcp_reset_of_ack", ["the kernel answers data of a connection that it does not know"],
         [("segment", seen["c0", False][0]), ("reset", seen["c0", True][0])])
    request = icmp_error(8, 0, 0x12340001, b"sixteen bytes...!")
    raw(client, socket.IPPROTO_ICMP).sendto(request, (GATEWAY, 0))
    seen = wire.take()
    save("icmp_echo", ["the kernel answers an echo request of odd length"],
         [("request", seen["c0", False][0]), ("reply", seen["c0", True][0])])


def partial_checksums(wire, client, server):
    sh(f"ip netns exec {client} ethtool -K eth0 tx on >/dev/null")
    listener = tcp(server)
    listener.bind(("0.0.0.0", 7000))
    listener.listen()
    stream = tcp(client)
    stream.connect((SERVER, 7000))
    before, after = wire.to_server()
    save("partial_tcp", ["SYN over a veth with checksum offload as the gateway gets it; as the kernel routed it on"],
         [("partial", before[0]), ("finished", after[0])])
    udp(client).sendto(b"an odd one", (SERVER, 9))
    before, after = wire.to_server()
    save("partial_udp", ["datagram over a veth with checksum offload as the gateway gets it; as the kernel routed it on"],
         [("partial", before[0]), ("finished", after[0])])


def main():
    with lab("c", "g", "s") as (client, gateway, server):
        build(client, gateway, server)
        wire = Wire(gateway)
        syn = nat_tcp(wire, client, server)
        nat_udp(wire, client, server)
        nat_icmp_tcp(wire, server, syn)
        nat_fragments(wire, client, server)
        resets_and_echo(wire, client)
        errors_of_the_kernel(wire, client, gateway)
        partial_checksums(wire, client, server)
        wire.capture.close()


if __name__ == "__main__":
    main()
