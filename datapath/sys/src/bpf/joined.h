// Shortcuts on interfaces without XDP in the driver: the second half.
//
// There the kernel hands on packets as its own protocols see them: up to 64 KiB, joined by whoever sent them on a virtual link, or by GRO, with
// checksums that a card is to finish. XDP can neither lengthen nor redirect those; a program of its traffic control can, and keeps
// the kernel informed of where they are to be cut. `filter_joined` has looked at each packet, entered it, and left a note.
//
// The note is in the Ethernet header, not in what XDP may hand on beside the packet: Linux (6.18) forgets that header's length where it had
// to copy a packet for XDP, and then neither finds what lies in front of it, nor begins the packet with it (`begin_with_header`).

enum { TC_NEXT = -1, TC_DROP = 2 };
enum { ROOM_AT_MAC = 1 };
enum { FROM_MAC = 0 };
enum { SAME_SEGMENTS = 1 << 0, OUTER_IPV4 = 1 << 1, OUTER_UDP = 1 << 4, INNER_ETHERNET = 1 << 6, INNER_ETHERNET_LENGTH = 56 };
enum { PSEUDO_HEADER = 1 << 4, ZERO_IS_NONE = 1 << 5 };

// struct __sk_buff, as far as it is used here.
struct packet {
	u32 length;
	u32 unused[4];
	u32 is_tagged; // there was a VLAN tag, which is kept beside the packet
	u32 unused_as_well[13];
	u32 data;
	u32 data_end;
	u32 unused_too[23];
	u32 segment; // bytes of data in each segment that it stands for; 0: it is one
};
_Static_assert(__builtin_offsetof(struct packet, is_tagged) == 20, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct packet, data) == 76, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct packet, segment) == 176, "as in linux/bpf.h");

static long (*const replace_checksum)(struct packet *packet, u32 offset, u64 old, u64 new, u64 flags) = (void *)11;
static long (*const drop_tag)(struct packet *packet) = (void *)19;
static long (*const redirect)(u32 interface, u64 flags) = (void *)23;
static long (*const change_head)(struct packet *packet, u32 more, u64 flags) = (void *)43;
static long (*const load_from)(struct packet *packet, u32 offset, void *to, u32 length, u32 start) = (void *)68;
static long (*const adjust_room)(struct packet *packet, int delta, u32 where, u64 flags) = (void *)50;

// The kernel's numbers of the interfaces in `outputs`.
MAP(output_numbers, MAP_ARRAY, u32, u32, 64, 0);

// The packet begins with its Ethernet header. What that says is lost: another one will be there.
INLINE int begin_with_header(struct packet *packet, u64 mark)
{
	u64 *front = (void *)(long)packet->data;

	if (INSIDE(front, sizeof(*front), (void *)(long)packet->data_end) && *front == mark)
		return 1;
	return !change_head(packet, ETHERNET_LENGTH, 0);
}

// To XDP it looked untagged, as all packets do whose tag a card has taken off: it must not leave with that of the way in.
INLINE int leave_untagged(struct packet *packet)
{
	return !packet->is_tagged || !drop_tag(packet);
}

// The headers of a packet on its way, if it is the one that the note is about.
INLINE struct ipv4 *find_noted(struct packet *packet, struct way *way, u32 offset)
{
	void *end = (void *)(long)packet->data_end;
	struct ipv4 *ip = (void *)(long)packet->data + offset;

	return INSIDE(ip, sizeof(*ip) + sizeof(struct udp), end) && has_key(ip, way) ? ip : 0;
}

// It fits the way out, or the segments that it stands for do.
INLINE int fits_out(struct packet *packet, struct way *way, struct ipv4 *ip)
{
	struct tcp *tcp = (void *)(ip + 1);

	if (host16(ip->total_length) <= way->mtu)
		return 1;
	if (!packet->segment || ip->protocol != TCP || !INSIDE(tcp, sizeof(*tcp), (void *)(long)packet->data_end))
		return 0;
	return packet->segment + (tcp->offset >> 4) * 4 + sizeof(*ip) <= way->mtu;
}

INLINE u32 fold_to_word(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

// Finished or not, the kernel knows; what is left to a card covers addresses only.
INLINE int translate_checksum(struct packet *packet, struct way *way, u32 stamps, u32 offset)
{
	u64 addresses = (u64)~way->source + (u32)~way->destination + way->to_source + way->to_destination;
	u64 rest = (u64)(u32)~way->ports + way->to_ports + stamps;
	u32 at = offset + sizeof(struct ipv4);
	u64 flags = 0;

	if (way->protocol == TCP) {
		at += __builtin_offsetof(struct tcp, checksum);
	} else {
		at += __builtin_offsetof(struct udp, checksum);
		flags = ZERO_IS_NONE;
	}
	return !replace_checksum(packet, at, 0, fold_to_word(addresses), flags | PSEUDO_HEADER) &&
	       !replace_checksum(packet, at, 0, fold_to_word(rest), flags);
}

// Makes room for a tunnel's headers, or takes them away.
INLINE int change_room(struct packet *packet, u32 offset, u32 header_length)
{
	u64 flags = SAME_SEGMENTS;

	if (offset == header_length)
		return 1;
	if (header_length == TUNNEL_LENGTH)
		flags |= OUTER_IPV4 | OUTER_UDP | INNER_ETHERNET | (u64)ETHERNET_LENGTH << INNER_ETHERNET_LENGTH;
	return !adjust_room(packet, (int)header_length - (int)offset, ROOM_AT_MAC, flags);
}

// Translates the packet and puts the way's headers in front.
INLINE int put_headers(struct packet *packet, struct way *way, u16 id)
{
	void *data = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;

	if (way->header_length == TUNNEL_LENGTH) {
		struct ipv4 *inner = data + TUNNEL_LENGTH;

		if (!INSIDE(inner, sizeof(*inner) + sizeof(struct udp), end))
			return 0;
		translate_ip(inner, way);
		put_tunnel(data, inner, host16(inner->total_length), id, way);
	} else {
		struct ipv4 *ip = data + ETHERNET_LENGTH;

		if (!INSIDE(ip, sizeof(*ip) + sizeof(struct udp), end))
			return 0;
		translate_ip(ip, way);
		put_ethernet(data, way);
	}
	return 1;
}

INLINE int send_joined(struct packet *packet, struct shortcut *shortcut, u32 direction)
{
	struct way *way = &shortcut->ways[direction & 1];
	u32 offset = way->from_vtep ? TUNNEL_LENGTH : ETHERNET_LENGTH;
	struct ipv4 *ip = find_noted(packet, way, offset);
	void *end = (void *)(long)packet->data_end;
	struct tcp *tcp;
	struct udp *udp;
	u32 stamps = 0;
	int has_checksum = 1;

	if (!ip || !fits_out(packet, way, ip))
		return 0;
	tcp = (void *)(ip + 1);
	udp = (void *)(ip + 1);
	if (way->protocol == UDP)
		has_checksum = udp->checksum != 0;
	else if (INSIDE(tcp, sizeof(*tcp), end))
		stamps = shift_timestamp(tcp, shortcut->stamp_delta, direction & 1, end);
	if (has_checksum && !translate_checksum(packet, way, stamps, offset))
		return 0;
	return change_room(packet, offset, way->header_length) && put_headers(packet, way, shortcut->sides[direction & 1].packets);
}

// Sends a packet on that `filter_joined` has taken. What cannot be sent after all is lost, and the next packets are the worker's.
SECTION("classifier")
int send_noted(struct packet *packet)
{
	u32 zero = 0, number, direction, *interface;
	struct lending *lending = map_lookup(&terms, &zero);
	struct shortcut *shortcut;
	struct note note;

	if (!lending || !lending->key || load_from(packet, 0, &note, sizeof(note), FROM_MAC) || note.mark != lending->key)
		return TC_NEXT;
	direction = note.way & 1;
	number = note.way >> 1;
	shortcut = map_lookup(&shortcuts, &number);
	if (!shortcut)
		return TC_DROP;
	interface = map_lookup(&output_numbers, &shortcut->ways[direction].output);
	if (interface && *interface && leave_untagged(packet) && begin_with_header(packet, note.mark) &&
	    send_joined(packet, shortcut, direction))
		return redirect(*interface, 0);
	end_loan(shortcut);
	return TC_DROP;
}
