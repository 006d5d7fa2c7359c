// The filter's decisions about IPv6 packets: the same ones as about IPv4, for VIPs and plain backends. A part of filter.c.
//
// Neighbour discovery, router advertisements and multicast groups are the kernel's, whatever they are sent to. So is what comes
// behind extension headers that the data path does not walk.

enum { ETHERTYPE_IPV6 = 0x86dd };
enum { HOP_BY_HOP = 0, FRAGMENT_HEADER = 44, ICMP_SIX = 58, DESTINATION_OPTIONS = 60 };
enum { UNREACHABLE_SIX = 1, PARAMETER_PROBLEM_SIX = 4, ECHO_REQUEST_SIX = 128 };
// In the word with the fragment offset; the offset itself begins at bit 3.
enum { MORE_FRAGMENTS_SIX = 0x0001, FRAGMENT_OFFSET_SIX = 0xfff8 };
// Extension headers at most.
enum { EXTENSIONS = 4 };

struct address_six {
	u32 words[4];
} __attribute__((packed, aligned(2)));

struct ipv6 {
	u8 version_and_class;
	u8 rest[3];
	u16 payload_length;
	u8 next;
	u8 hop_limit;
	struct address_six source;
	struct address_six destination;
} __attribute__((packed, aligned(2)));

// Of a fragment header the length is reserved, and two bytes follow that say which fragment it is.
struct extension {
	u8 next;
	u8 length;
	u16 fragment;
	u32 id;
} __attribute__((packed));

struct listen_six_key {
	struct address_six address;
	u32 protocol;
};
struct plain_six_key {
	struct address_six address;
	u16 port; // 0: any
	u8 protocol;
	u8 host; // 1: this address has a backend of this protocol on some port
};

MAP(listens_six, MAP_HASH, struct listen_six_key, struct ports, LISTENS, MAP_NO_PREALLOC);
MAP(vips_six, MAP_HASH, struct address_six, u32, LISTENS, MAP_NO_PREALLOC);
MAP(plain_backends_six, MAP_HASH, struct plain_six_key, u32, 65536, MAP_NO_PREALLOC);
MAP(snat_six, MAP_HASH, struct address_six, struct range, 1024, MAP_NO_PREALLOC);

// What is behind the extension headers.
struct upper {
	void *data;
	u8 protocol;
	u8 is_fragment;
	u8 is_later_fragment;
};

INLINE int is_upper(u8 protocol)
{
	return protocol == TCP || protocol == UDP || protocol == ICMP_SIX;
}

// False: there is something that we do not know, or cut short.
INLINE int walk(struct ipv6 *ip, void *end, struct upper *upper)
{
	void *at = ip + 1;
	u8 next = ip->next;

	upper->is_fragment = 0;
	upper->is_later_fragment = 0;
	for (int n = 0; n < EXTENSIONS && !is_upper(next) && !upper->is_later_fragment; n++) {
		struct extension *extension = at;

		if (next != HOP_BY_HOP && next != DESTINATION_OPTIONS && next != FRAGMENT_HEADER)
			return 0;
		if (!INSIDE(extension, sizeof(*extension), end))
			return 0;
		if (next == FRAGMENT_HEADER) {
			u16 which = host16(extension->fragment);

			upper->is_fragment = (which & (FRAGMENT_OFFSET_SIX | MORE_FRAGMENTS_SIX)) != 0;
			upper->is_later_fragment = (which & FRAGMENT_OFFSET_SIX) != 0;
			at += sizeof(*extension);
		} else {
			at += ((u32)extension->length + 1) * 8;
		}
		next = extension->next;
	}
	upper->data = at;
	upper->protocol = next;
	return is_upper(next);
}

INLINE enum verdict to_service_six(struct ipv6 *ip, struct upper *upper, void *end)
{
	struct listen_six_key key = {.address = ip->destination, .protocol = upper->protocol};
	struct ports *published = map_lookup(&listens_six, &key);
	struct transport *ports = upper->data;
	u16 port;

	if (!published)
		return NOT_OURS;
	if (upper->is_later_fragment)
		return FRAGMENT;
	if (!INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	port = host16(ports->destination_port);
	if (!(published->bits[(port >> 6) & 1023] >> (port & 63) & 1))
		return NOT_OURS;
	return upper->is_fragment ? FRAGMENT : LISTEN;
}

INLINE int is_plain_backend_six(struct address_six *address, u16 port, u8 protocol)
{
	struct plain_six_key key = {.address = *address, .port = port, .protocol = protocol};

	if (map_lookup(&plain_backends_six, &key))
		return 1;
	key.port = 0;
	return map_lookup(&plain_backends_six, &key) != 0;
}

INLINE int is_snat_port_six(struct address_six *address, u16 port)
{
	struct range *range = map_lookup(&snat_six, address);

	return range && port >= range->first && port <= range->last;
}

INLINE enum verdict from_backend_six(struct ipv6 *ip, struct upper *upper, void *end)
{
	struct transport *ports = upper->data;

	if (upper->is_later_fragment) {
		struct plain_six_key key = {.address = ip->source, .protocol = upper->protocol, .host = 1};

		if (!map_lookup(&snat_six, &ip->destination) || !map_lookup(&plain_backends_six, &key))
			return NOT_OURS;
		return PLAIN_FRAGMENT;
	}
	if (!INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	if (!is_snat_port_six(&ip->destination, host16(ports->destination_port)))
		return NOT_OURS;
	if (!is_plain_backend_six(&ip->source, host16(ports->source_port), upper->protocol))
		return NOT_OURS;
	return PLAIN;
}

INLINE int is_icmp_six_error(u8 kind)
{
	return kind >= UNREACHABLE_SIX && kind <= PARAMETER_PROBLEM_SIX;
}

// An error about a packet that we sent to a backend.
INLINE enum verdict error_six(struct ipv6 *ip, struct ipv6 *about, void *end)
{
	struct transport *ports;
	struct upper upper;

	if (!INSIDE(about, sizeof(*about), end))
		return MALFORMED;
	if (!walk(about, end, &upper) || upper.is_later_fragment)
		return NOT_OURS;
	ports = upper.data;
	if (!INSIDE(ports, sizeof(*ports), end))
		return MALFORMED;
	for (int n = 0; n < 4; n++)
		if (about->source.words[n] != ip->destination.words[n])
			return NOT_OURS;
	if (!is_snat_port_six(&about->source, host16(ports->source_port)))
		return NOT_OURS;
	if (!is_plain_backend_six(&about->destination, host16(ports->destination_port), upper.protocol))
		return NOT_OURS;
	return PLAIN_ICMP;
}

// Errors and questions for an echo to a VIP, and errors about what we sent to a backend. Fragments of a message do not tell
// its kind.
INLINE enum verdict icmp_six_to_us(struct ipv6 *ip, struct upper *upper, void *end)
{
	struct icmp *icmp = upper->data;

	if (upper->is_fragment)
		return NOT_OURS;
	if (!INSIDE(icmp, sizeof(*icmp), end))
		return MALFORMED;
	if (icmp->kind != ECHO_REQUEST_SIX && !is_icmp_six_error(icmp->kind))
		return NOT_OURS;
	if (map_lookup(&vips_six, &ip->destination))
		return VIP_ICMP;
	if (!is_icmp_six_error(icmp->kind))
		return NOT_OURS;
	return error_six(ip, (void *)(icmp + 1), end);
}

INLINE enum verdict judge_six(struct ipv6 *ip, void *end)
{
	struct upper upper;
	enum verdict verdict;

	if (!INSIDE(ip, sizeof(*ip), end) || ip->version_and_class >> 4 != 6)
		return MALFORMED;
	if (!map_lookup(&vips_six, &ip->destination) && !map_lookup(&snat_six, &ip->destination))
		return NOT_OURS;
	if (!walk(ip, end, &upper))
		return NOT_OURS;
	if (upper.protocol == ICMP_SIX)
		return icmp_six_to_us(ip, &upper, end);
	verdict = to_service_six(ip, &upper, end);
	if (verdict == NOT_OURS)
		verdict = from_backend_six(ip, &upper, end);
	return verdict;
}
