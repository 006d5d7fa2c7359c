// The XDP filter: which packets are ours. It sends them to the AF_XDP socket of the queue on which they came; everything else,
// and whatever it does not understand, stays with the kernel.
//
// Packets of flows that are lent are translated and sent on by shortcut.h, which looks at them first. Of the rest it only decides:
// checksums and lengths are the data path's business, and only as much is read as the decision needs. No header of the system is
// included, so that clang alone can build it. `src/filter.rs` fills the maps and knows the numbers below. IPv6 is in six.h.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

// ---- The kernel's interface: linux/bpf.h, as far as it is used here. ----

enum { XDP_PASS = 2, XDP_REDIRECT = 4 };
enum { MAP_HASH = 1, MAP_PERCPU_ARRAY = 6, MAP_XSKMAP = 17 };
enum { MAP_NO_PREALLOC = 1 };

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 otherwise) = (void *)51;

// A map as the loaders read it from the type information.
#define MAP(name, kind, key_type, value_type, entries, options) \
	struct {                                                 \
		int (*type)[kind];                               \
		int (*max_entries)[entries];                     \
		int (*map_flags)[options];                       \
		key_type *key;                                   \
		value_type *value;                               \
	} name SECTION(".maps")

// There is room for so many interfaces, for so many queues of each, and for so many VIPs with their protocols.
enum { INTERFACES = 64, QUEUES = 64, LISTENS = 4096 };

// ---- Tables. Addresses are in network order, all other numbers in the host's. ----

struct listen_key {
	u32 address;
	u32 protocol;
};
// One bit for each port.
struct ports {
	u64 bits[1024];
};
struct tunnel_key {
	u32 vtep;
	u32 port;
};
// An interface that we serve: where its sockets begin, and the Ethernet address that its frames are for. None: any.
struct interface {
	u32 base;
	u8 address[6];
	u8 has_address;
	u8 unused;
};
struct inner_key {
	u32 vni;
	u32 address;
};
struct plain_key {
	u32 address;
	u16 port; // 0: any
	u8 protocol;
	u8 host; // 1: this address has a backend of this protocol on some port
};
struct range {
	u16 first;
	u16 last;
};

MAP(listens, MAP_HASH, struct listen_key, struct ports, LISTENS, MAP_NO_PREALLOC);
MAP(vips, MAP_HASH, u32, u32, LISTENS, MAP_NO_PREALLOC);
MAP(tunnels, MAP_HASH, struct tunnel_key, u32, 256, MAP_NO_PREALLOC);
MAP(inner_addresses, MAP_HASH, struct inner_key, u32, 4096, MAP_NO_PREALLOC);
MAP(plain_backends, MAP_HASH, struct plain_key, u32, 65536, MAP_NO_PREALLOC);
MAP(snat, MAP_HASH, u32, struct range, 1024, MAP_NO_PREALLOC);
// Where an interface's queues begin among the sockets.
MAP(interfaces, MAP_HASH, u32, struct interface, INTERFACES, MAP_NO_PREALLOC);
MAP(sockets, MAP_XSKMAP, u32, u32, INTERFACES * QUEUES, 0);

// Why a packet was taken, or not. The names are in filter.rs, in the same order.
enum verdict {
	NOT_IPV4,
	NOT_OURS,
	MALFORMED,
	LISTEN,
	FRAGMENT,
	VIP_ICMP,
	OVERLAY,
	OVERLAY_ARP,
	PLAIN,
	PLAIN_FRAGMENT,
	PLAIN_ICMP,
	NO_SOCKET,
	SHORTCUT,
	VERDICTS,
};
MAP(verdicts, MAP_PERCPU_ARRAY, u32, u64, VERDICTS, 0);

// ---- Headers. ----

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_ARP = 0x0806 };
enum { ICMP = 1, TCP = 6, UDP = 17 };
enum { MORE_FRAGMENTS = 0x2000, FRAGMENT_OFFSET = 0x1fff };
enum { VNI_PRESENT = 0x08 };

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_and_length;
	u8 tos;
	u16 total_length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
} __attribute__((packed));

struct transport {
	u16 source_port;
	u16 destination_port;
} __attribute__((packed));

struct udp {
	struct transport ports;
	u16 length;
	u16 checksum;
} __attribute__((packed));

struct vxlan {
	u8 flags;
	u8 reserved[3];
	u32 vni_and_reserved;
} __attribute__((packed));

struct arp {
	u16 hardware;
	u16 protocol;
	u8 hardware_length;
	u8 protocol_length;
	u16 operation;
	u8 sender_mac[6];
	u32 sender;
	u8 target_mac[6];
	u32 target;
} __attribute__((packed));

struct icmp {
	u8 kind;
	u8 code;
	u16 checksum;
	u32 rest;
} __attribute__((packed));

INLINE u16 host16(u16 value)
{
	return __builtin_bswap16(value);
}

INLINE u32 host32(u32 value)
{
	return __builtin_bswap32(value);
}

// Whether an object of `size` bytes at `at` lies inside the packet.
#define INSIDE(at, size, end) ((void *)(at) + (size) <= (end))

// What follows an IPv4 header, options skipped; null when the header is nonsense.
INLINE void *payload_of(struct ipv4 *ip, void *end)
{
	u32 length = (ip->version_and_length & 0xf) * 4;

	if (ip->version_and_length >> 4 != 4 || length < sizeof(*ip))
		return 0;
	return (void *)ip + length;
}

// ---- Decisions. ----

INLINE int is_fragment(struct ipv4 *ip)
{
	return (host16(ip->fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) != 0;
}

INLINE int is_later_fragment(struct ipv4 *ip)
{
	return (host16(ip->fragment) & FRAGMENT_OFFSET) != 0;
}

// To a published port, or a part of a datagram that may go to one.
INLINE enum verdict to_service(struct ipv4 *ip, struct transport *ports, void *end)
{
	struct listen_key key = {.address = ip->destination, .protocol = ip->protocol};
	struct ports *published = map_lookup(&listens, &key);
	u16 port;

	if (!published)
		return NOT_OURS;
	if (is_later_fragment(ip))
		return FRAGMENT;
	if (!INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	port = host16(ports->destination_port);
	if (!(published->bits[(port >> 6) & 1023] >> (port & 63) & 1))
		return NOT_OURS;
	return is_fragment(ip) ? FRAGMENT : LISTEN;
}

// From the overlay: our VNI, and inside a packet or a question for one of our addresses.
INLINE enum verdict from_overlay(struct ipv4 *ip, struct udp *udp, void *end)
{
	struct vxlan *vxlan = (void *)(udp + 1);
	struct ethernet *ethernet = (void *)(vxlan + 1);
	struct tunnel_key tunnel = {.vtep = ip->destination};
	struct inner_key inner = {};
	enum verdict verdict;

	if (is_fragment(ip) || !INSIDE(udp, sizeof(*udp), end))
		return NOT_OURS;
	tunnel.port = host16(udp->ports.destination_port);
	if (!map_lookup(&tunnels, &tunnel))
		return NOT_OURS;
	if (!INSIDE(ethernet, sizeof(*ethernet), end))
		return MALFORMED;
	if (!(vxlan->flags & VNI_PRESENT))
		return NOT_OURS;
	inner.vni = host32(vxlan->vni_and_reserved) >> 8;

	if (ethernet->type == host16(ETHERTYPE_IPV4)) {
		struct ipv4 *packet = (void *)(ethernet + 1);

		if (!INSIDE(packet, sizeof(*packet), end))
			return MALFORMED;
		inner.address = packet->destination;
		verdict = OVERLAY;
	} else if (ethernet->type == host16(ETHERTYPE_ARP)) {
		struct arp *arp = (void *)(ethernet + 1);

		if (!INSIDE(arp, sizeof(*arp), end))
			return MALFORMED;
		inner.address = arp->target;
		verdict = OVERLAY_ARP;
	} else {
		return NOT_OURS;
	}
	return map_lookup(&inner_addresses, &inner) ? verdict : NOT_OURS;
}

INLINE int is_plain_backend(u32 address, u16 port, u8 protocol)
{
	struct plain_key key = {.address = address, .port = port, .protocol = protocol};

	if (map_lookup(&plain_backends, &key))
		return 1;
	key.port = 0;
	return map_lookup(&plain_backends, &key) != 0;
}

INLINE int is_snat_port(u32 address, u16 port)
{
	struct range *range = map_lookup(&snat, &address);

	return range && port >= range->first && port <= range->last;
}

// An answer of a backend that is reached without the overlay.
INLINE enum verdict from_backend(struct ipv4 *ip, struct transport *ports, void *end)
{
	if (is_later_fragment(ip)) {
		struct plain_key key = {.address = ip->source, .protocol = ip->protocol, .host = 1};

		if (!map_lookup(&snat, &ip->destination) || !map_lookup(&plain_backends, &key))
			return NOT_OURS;
		return PLAIN_FRAGMENT;
	}
	if (!INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	if (!is_snat_port(ip->destination, host16(ports->destination_port)))
		return NOT_OURS;
	if (!is_plain_backend(ip->source, host16(ports->source_port), ip->protocol))
		return NOT_OURS;
	return PLAIN;
}

// Redirects and source quenches are no affair of ours: they stay with the kernel, whose routes we follow.
INLINE int is_icmp_error(u8 kind)
{
	return kind == 3 || kind == 11 || kind == 12;
}

// An ICMP message: anything to a VIP, and errors about packets that we sent to a backend.
INLINE enum verdict icmp_to_us(struct ipv4 *ip, struct icmp *icmp, void *end)
{
	struct ipv4 *about = (void *)(icmp + 1);
	struct transport *ports;

	if (map_lookup(&vips, &ip->destination))
		return VIP_ICMP;
	if (is_later_fragment(ip) || !map_lookup(&snat, &ip->destination))
		return NOT_OURS;
	if (!INSIDE(icmp, sizeof(*icmp), end))
		return MALFORMED;
	if (!is_icmp_error(icmp->kind))
		return NOT_OURS;
	if (!INSIDE(about, sizeof(*about), end))
		return MALFORMED;
	ports = payload_of(about, end);
	if (!ports || !INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	if (about->source != ip->destination || is_later_fragment(about))
		return NOT_OURS;
	if (!is_snat_port(about->source, host16(ports->source_port)))
		return NOT_OURS;
	if (!is_plain_backend(about->destination, host16(ports->destination_port), about->protocol))
		return NOT_OURS;
	return PLAIN_ICMP;
}

// The first five bytes of the addresses that VRRP routers share (RFC 9568, 7.3), for IPv4 and for IPv6.
INLINE int is_vrrp(u8 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == 0x5e && address[3] == 0 && (address[4] == 1 || address[4] == 2);
}

// Whether the frame is addressed to this machine. A switch that has forgotten where a neighbour is sends its frames to everybody, and
// an interface that listens to all shows them: to answer them would end connections of the gateway that they are for.
INLINE int is_for_us(struct interface *interface, struct ethernet *ethernet, void *end)
{
	u8 *address = ethernet->destination;

	if (!INSIDE(ethernet, sizeof(*ethernet), end))
		return 0;
	if (!interface->has_address || is_vrrp(address))
		return 1;
	for (int i = 0; i < 6; i++)
		if (address[i] != interface->address[i])
			return 0;
	return 1;
}

#include "six.h"
#include "shortcut.h"
#include "joined.h"

INLINE enum verdict judge(void *data, void *end)
{
	struct ethernet *ethernet = data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	enum verdict verdict;
	void *payload;

	if (!INSIDE(ethernet, sizeof(*ethernet), end))
		return NOT_IPV4;
	if (ethernet->type == host16(ETHERTYPE_IPV6))
		return judge_six((void *)ip, end);
	if (ethernet->type != host16(ETHERTYPE_IPV4))
		return NOT_IPV4;
	if (!INSIDE(ip, sizeof(*ip), end))
		return MALFORMED;
	payload = payload_of(ip, end);
	if (!payload)
		return MALFORMED;
	if (ip->protocol == ICMP)
		return icmp_to_us(ip, payload, end);
	if (ip->protocol != TCP && ip->protocol != UDP)
		return NOT_OURS;
	verdict = to_service(ip, payload, end);
	if (verdict == NOT_OURS && ip->protocol == UDP)
		verdict = from_overlay(ip, payload, end);
	if (verdict == NOT_OURS)
		verdict = from_backend(ip, payload, end);
	return verdict;
}

INLINE void count(enum verdict verdict)
{
	u32 key = verdict;
	u64 *packets = map_lookup(&verdicts, &key);

	if (packets)
		*packets += 1;
}

INLINE int take(struct xdp_md *ctx, enum joins joins)
{
	int action = take_shortcut(ctx, joins);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 index = ctx->ingress_ifindex;
	struct interface *interface;
	enum verdict verdict;

	if (action != NOT_TAKEN)
		return action;
	verdict = judge(data, end);
	interface = map_lookup(&interfaces, &index);
	if (verdict >= LISTEN && interface && !is_for_us(interface, data, end))
		verdict = NOT_OURS;
	count(verdict);
	if (verdict < LISTEN)
		return XDP_PASS;
	// A queue that no socket can have must not find the next interface's.
	if (interface && ctx->rx_queue_index < QUEUES)
		action = redirect_map(&sockets, interface->base + ctx->rx_queue_index, XDP_PASS);
	else
		action = XDP_PASS;
	if (action != XDP_REDIRECT)
		count(NO_SOCKET);
	return action;
}

// In the driver.
SECTION("xdp")
int filter(struct xdp_md *ctx)
{
	return take(ctx, SINGLE);
}

// In the kernel's general receive path: packets may be joined, and longer than what is at hand of them.
SECTION("xdp.frags")
int filter_joined(struct xdp_md *ctx)
{
	return take(ctx, JOINS);
}

char license_name[] SECTION("license") = "Apache-2.0";
