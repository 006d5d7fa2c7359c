// Shortcuts: packets of flows that a worker has lent to this program. They are translated and sent on here; no worker sees them.
//
// A worker lends a flow for a second, and prolongs that while it goes on. What then moves with its packets (TCP windows, counters,
// the time of the last one) is written here and read by the worker. Any packet that could do more than that ends the loan and goes
// to the worker, and so does every packet after it: none overtakes another. (Not those in which the flow is not looked for, as with IP
// options: the worker takes the flow back when it sees one, and what came meanwhile is in front of it.) For the same reason a side of a
// TCP flow must join (`may_join`) before its packets are taken here; those in front of that go to the worker, whatever they are. The
// rules are those of `steady` in the data path, packet by packet; `datapath/tests/pipeline_steady.rs` holds both to the same bytes.
//
// On interfaces without XDP in the driver packets may have been joined, up to 64 KiB (JOINS). There this program only decides, and leaves a
// note with the packet; joined.h, behind it, translates and sends on.
//
// The three tables are mapped into the process, which writes them without system calls. `src/shortcuts/layout.rs` has the same
// structures; numbers are in the host's order unless said otherwise.

enum { MAP_ARRAY = 2, MAP_DEVMAP = 14 };
enum { MAP_MAPPABLE = 1024 };
enum { SHORTCUTS = 16384, BUCKETS = 8192, WAYS_OF_A_BUCKET = 8 };
enum { ETHERNET_LENGTH = 14, TUNNEL_LENGTH = 64 };
// Wires carry no shorter frame: it is padded to that.
enum { SHORTEST = 60 };
// No lent packet that is summed up here is longer (`mtu` sees to it): in a driver a frame has one page.
enum { LONGEST = 4096 };
// The packet is none for a shortcut: it is the worker's, or the kernel's.
enum { NOT_TAKEN = -1 };
// Whether packets may be joined ones.
enum joins { SINGLE, JOINS };
// Fields of TCP.
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, ACK = 0x10 };
// How far behind the last byte an acknowledgment may lie if windows are smaller than that: as in conntrack.
enum { MIN_ACK_SPAN = 66000 };

static u64 (*const coarse_now)(void) = (void *)160;
static long (*const adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;
static long (*const adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;
static u64 (*const frame_length)(struct xdp_md *ctx) = (void *)188;

// Says whether anything is lent, and by which tables. One entry.
struct lending {
	u64 key;	 // of the hash
	u32 generation;	 // 0: nothing is lent
	u32 vtep;	 // our end of the tunnels, network order
	u32 tunnel_port; // 0: no tunnels
	u32 padding;
};

// Where the flows of eight keys are: the upper half of the hash, and the number of the way plus one; 0: nothing.
struct bucket {
	u64 places[WAYS_OF_A_BUCKET];
};

// What one side of a TCP flow has shown.
struct seen {
	u32 end; // the sequence number after its last byte
	u32 ack; // the highest one
	u16 window;
	u8 scale;
	u8 joined; // to `side` only: its packets are sent on here
};

// One side of a flow, written by its packets only.
struct side {
	u64 heard; // nanoseconds of the monotonic clock
	u64 bytes;
	u32 packets;
	struct seen seen;
};

// What a side that has not joined has shown to the worker, which sends its packets on until then.
struct queued {
	struct seen seen;
	u32 sent; // the sequence number after the last byte that has left
};

// One direction. Addresses and ports in network order.
struct way {
	u32 source;
	u32 destination;
	u32 ports; // source, destination
	u32 to_source;
	u32 to_destination;
	u32 to_ports;
	u16 ip_delta; // what the translation adds to the checksums, network order
	u16 l4_delta;
	u16 mtu;
	u16 header_length; // ETHERNET_LENGTH or TUNNEL_LENGTH
	u32 interface;	   // where it must come from
	u8 neighbour[6];   // and from whom there; unless it came through a tunnel or from a backend
	u8 any_neighbour;
	u8 protocol;
	u32 output;	   // place of the interface in `outputs`
	u32 from_vtep;	   // 0: not through a tunnel
	u32 vni;	   // as in the header
	u8 inner_mac[6];
	u16 outer_sum; // of the outer header without TOS, length, identification; host order
	u64 header[TUNNEL_LENGTH / 8];
};

// One flow: six cache lines.
struct shortcut {
	u32 live; // 0: back to the worker
	u32 generation;
	u64 until; // nanoseconds of the monotonic clock
	u32 stamp_delta; // what is added to the client's TCP timestamps, and taken from what echoes them
	struct queued queued[2];
	u32 padding[3];
	struct side sides[2];
	struct way ways[2];
};

MAP(terms, MAP_ARRAY, u32, struct lending, 1, MAP_MAPPABLE);
MAP(buckets, MAP_ARRAY, u32, struct bucket, BUCKETS, MAP_MAPPABLE);
MAP(shortcuts, MAP_ARRAY, u32, struct shortcut, SHORTCUTS, MAP_MAPPABLE);
MAP(outputs, MAP_DEVMAP, u32, u32, 64, 0);

struct tcp {
	struct transport ports;
	u32 seq;
	u32 ack;
	u8 offset;
	u8 flags;
	u16 window;
	u16 checksum;
	u16 urgent;
} __attribute__((packed));

// Timestamps as nearly everybody sends them, first and behind two options of padding (RFC 7323, appendix A).
struct stamps {
	u32 head;
	u32 value;
	u32 echo;
} __attribute__((packed));
enum { STAMPS_HEAD = 0x0101080a };

// One packet on its way: where its parts are, and what is known of it.
struct passage {
	struct ipv4 *ip;
	struct transport *ports;
	u32 length; // of the IP packet
	u32 offset; // of the IP header in the frame
	u32 frame;  // length of the frame
	enum joins joins;
	u32 outer_source;
	u32 vni;
	u8 outer_tos;
	u8 *inner_mac;
};

INLINE u64 hash_of(u64 key, u32 source, u32 destination, u32 ports, u32 protocol)
{
	u64 h = ((u64)source << 32 | destination) ^ key;

	h *= 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h ^= (u64)ports << 8 | protocol;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

INLINE u32 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

// Of words of 32 bits, fewer than 65536.
INLINE u16 fold_words(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return fold((sum & 0xffff) + (sum >> 16));
}

// RFC 1624, equation 3.
INLINE u16 adjusted(u16 checksum, u32 delta)
{
	return ~fold((u16)~checksum + delta);
}

INLINE int is_before(u32 a, u32 b)
{
	return (int)(a - b) < 0;
}

// Its header's checksum is right (RFC 1812, 5.2.2). Others are dropped by the worker.
INLINE int is_intact(struct ipv4 *ip)
{
	u32 *words = (void *)ip;

	return fold_words((u64)words[0] + words[1] + words[2] + words[3] + words[4]) == 0xffff;
}

// Where a packet is that may be of a lent flow, at this offset. 0: it is none of this kind.
INLINE int find_packet(struct passage *p, void *data, u32 offset, void *end)
{
	struct ipv4 *ip = data + offset;

	if (!INSIDE(ip, sizeof(*ip) + sizeof(struct udp), end))
		return 0;
	p->ip = ip;
	p->ports = (void *)(ip + 1);
	p->offset = offset;
	p->length = host16(ip->total_length);
	return ip->version_and_length == 0x45 && (ip->protocol == TCP || ip->protocol == UDP) && is_intact(ip);
}

// The frame may be in pieces, of which the first is at hand.
INLINE u32 length_of(struct xdp_md *ctx, enum joins joins)
{
	return joins == JOINS ? frame_length(ctx) : ctx->data_end - ctx->data;
}

// The packet of a frame, or that in its tunnel.
INLINE int find_passage(struct passage *p, struct lending *lending, void *data, void *end)
{
	struct ethernet *ethernet = data;
	struct ethernet *inner;
	struct vxlan *vxlan;
	struct udp *udp;

	if (!INSIDE(ethernet, sizeof(*ethernet), end) || ethernet->type != host16(ETHERTYPE_IPV4))
		return 0;
	if (!find_packet(p, data, ETHERNET_LENGTH, end))
		return 0;
	if (p->ip->protocol != UDP || p->ip->destination != lending->vtep ||
	    p->ports->destination_port != host16(lending->tunnel_port))
		return 1;
	udp = (void *)p->ports;
	if (is_fragment(p->ip) || ETHERNET_LENGTH + p->length != p->frame || p->length - sizeof(*p->ip) != host16(udp->length))
		return 0;
	p->outer_source = p->ip->source;
	p->outer_tos = p->ip->tos;
	vxlan = (void *)(udp + 1);
	inner = (void *)(vxlan + 1);
	if (!INSIDE(inner, sizeof(*inner), end) || inner->type != host16(ETHERTYPE_IPV4) || vxlan->flags != VNI_PRESENT)
		return 0;
	p->vni = vxlan->vni_and_reserved;
	p->inner_mac = inner->destination;
	return find_packet(p, data, TUNNEL_LENGTH, end);
}

// The number of the packet's way, plus one; 0: there is none.
INLINE u32 find_way(struct passage *p, struct lending *lending)
{
	u32 ports = *(u32 *)p->ports;
	u64 hash = hash_of(lending->key, p->ip->source, p->ip->destination, ports, p->ip->protocol);
	u32 number = hash & (BUCKETS - 1);
	struct bucket *bucket = map_lookup(&buckets, &number);

	if (!bucket)
		return 0;
	for (int i = 0; i < WAYS_OF_A_BUCKET; i++) {
		u64 place = *(volatile u64 *)&bucket->places[i];

		if (place >> 32 == hash >> 32 && (u32)place)
			return place;
	}
	return 0;
}

INLINE int is_same_mac(u8 *a, u8 *b)
{
	return *(u32 *)a == *(u32 *)b && *(u16 *)(a + 4) == *(u16 *)(b + 4);
}

INLINE int has_key(struct ipv4 *ip, struct way *way)
{
	return ip->source == way->source && ip->destination == way->destination && *(u32 *)(ip + 1) == way->ports &&
	       ip->protocol == way->protocol;
}

// Through a tunnel where its way is plain, or the other way round. Workers drop such packets, so they have no place in the flow's
// order and leave the loan alone: nobody ends it from outside of its network.
INLINE int is_astray(struct passage *p, struct way *way)
{
	return (p->offset == ETHERNET_LENGTH) != !way->from_vtep;
}

// It is for this machine's Ethernet address, which is where the other way's packets leave from, as a rule. Others leave the loan alone.
INLINE int is_addressed_to_us(struct xdp_md *ctx, struct way *other, struct ethernet *ethernet, void *end)
{
	u32 index = ctx->ingress_ifindex;
	struct interface *interface;

	if (is_same_mac(ethernet->destination, (u8 *)other->header + sizeof(ethernet->destination)))
		return 1;
	interface = map_lookup(&interfaces, &index);
	return !interface || is_for_us(interface, ethernet, end);
}

// It came as the packets of its way come.
INLINE int came_by(struct passage *p, struct way *way, struct xdp_md *ctx, struct ethernet *ethernet)
{
	u32 outer_ecn = p->outer_tos & 3;

	if (p->offset == ETHERNET_LENGTH)
		return way->any_neighbour ||
		       (ctx->ingress_ifindex == way->interface && is_same_mac(ethernet->source, way->neighbour));
	// RFC 6040: what the outer header says of congestion is not passed on here.
	return p->outer_source == way->from_vtep && p->vni == way->vni && is_same_mac(p->inner_mac, way->inner_mac) &&
	       (!outer_ecn || outer_ecn == (p->ip->tos & 3));
}

INLINE u16 pseudo_sum(struct passage *p)
{
	struct ipv4 *ip = p->ip;
	u32 sum = (ip->source & 0xffff) + (ip->source >> 16) + (ip->destination & 0xffff) + (ip->destination >> 16);

	return fold(sum + host16(ip->protocol) + host16(p->length - sizeof(*ip)));
}

// The sum of all bytes from there to the end of the frame. A function of its own, which the kernel verifies once: inlined, its
// loops would be walked again for each way that leads here.
__attribute__((noinline)) u32 sum_from(struct xdp_md *ctx, u32 offset)
{
	void *end = (void *)(long)ctx->data_end;
	u64 *words = (void *)(long)ctx->data + (offset & 127);
	u64 sum = 0;
	u8 *bytes;

	for (int i = 0; i < LONGEST / 32 && INSIDE(words, 32, end); i++, words += 4) {
		u64 a = words[0], b = words[1], c = words[2], d = words[3];

		sum += (a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32);
		sum += (c & 0xffffffff) + (c >> 32) + (d & 0xffffffff) + (d >> 32);
	}
	bytes = (void *)words;
	for (int i = 0; i < 15 && INSIDE(bytes, 2, end); i++, bytes += 2)
		sum += *(u16 *)bytes;
	if (INSIDE(bytes, 1, end))
		sum += host16(*bytes << 8);
	return fold_words(sum);
}

// A kernel that counts on a card to finish checksums leaves the pseudo header's sum in them. There is no card on the way.
INLINE u16 finished(struct xdp_md *ctx, struct passage *p, u16 checksum)
{
	if (checksum != pseudo_sum(p))
		return checksum;
	// The sum has the pseudo header's in it. A finished one that is that by chance comes out as it was.
	checksum = ~sum_from(ctx, p->offset + sizeof(struct ipv4));
	return p->ip->protocol == UDP && !checksum ? 0xffff : checksum;
}

INLINE u32 window_of(struct seen *seen)
{
	return (u32)seen->window << (seen->scale & 15);
}

// What a side has shown to whoever sends its packets on. Whoever reads `joined` before the rest has arrived refuses a packet at worst.
INLINE struct seen *seen_of(struct shortcut *shortcut, u32 direction)
{
	struct seen *seen = &shortcut->sides[direction].seen;

	return *(volatile u8 *)&seen->joined ? seen : &shortcut->queued[direction].seen;
}

// A side joins with the segment that follows what the worker has sent on: others may have something in front of them that is on its
// way to the worker. Until then its segments follow one another there.
INLINE int may_join(struct passage *p, struct side *side, struct queued *queued, void *end)
{
	struct tcp *tcp = (void *)p->ports;

	if (p->ip->protocol != TCP || !INSIDE(tcp, sizeof(*tcp), end) || side->seen.joined)
		return 1;
	if (*(volatile u32 *)&queued->sent != host32(tcp->seq))
		return 0;
	side->seen = queued->seen;
	return 1;
}

INLINE int has_stamps(struct tcp *tcp)
{
	return tcp->offset >> 4 >= 8;
}

// A segment of an established connection that cannot end it and lies where it should (conntrack's `carries_on`).
INLINE int carries_on(struct tcp *tcp, u32 length, struct seen *from, struct seen *to)
{
	u32 header = (tcp->offset >> 4) * 4;
	u32 window = window_of(to), span = window_of(from);
	u32 seq = host32(tcp->seq), ack = host32(tcp->ack), end;

	if (header < sizeof(*tcp) || header > length || (tcp->flags & (FIN | SYN | RST | ACK)) != ACK)
		return 0;
	end = seq + length - header;
	if (is_before(to->ack + window, seq) || is_before(end, from->end - window))
		return 0;
	if (span < MIN_ACK_SPAN)
		span = MIN_ACK_SPAN;
	if (is_before(to->end, ack) || is_before(ack, to->end - span))
		return 0;
	if (is_before(from->end, end))
		from->end = end;
	if (is_before(from->ack, ack))
		from->ack = ack;
	if (from->window < host16(tcp->window))
		from->window = host16(tcp->window);
	return 1;
}

// Its timestamps are where we look for them, or it can have none.
INLINE int is_stamped_plainly(struct tcp *tcp, void *end)
{
	struct stamps *stamps = (void *)(tcp + 1);

	if (!has_stamps(tcp))
		return tcp->offset >> 4 == 5;
	return INSIDE(stamps, sizeof(*stamps), end) && stamps->head == host32(STAMPS_HEAD);
}

// It fits its way, or is cut to what does where it leaves.
INLINE int fits(struct passage *p, struct way *way)
{
	if (p->joins == SINGLE || p->ip->protocol != TCP)
		return p->length <= way->mtu;
	return p->length + way->header_length - ETHERNET_LENGTH <= 0xffff;
}

// The packet can move nothing but counters, windows and time. Its side's windows are moved already.
INLINE int is_steady(struct xdp_md *ctx, struct passage *p, struct way *way, u32 stamp_delta, struct seen *from, struct seen *to, void *end)
{
	struct ipv4 *ip = p->ip;
	u32 length = p->length - sizeof(*ip);

	if (is_fragment(ip) || ip->ttl <= 1 || !fits(p, way) || p->offset + p->length != p->frame)
		return 0;
	if (ip->protocol == TCP) {
		struct tcp *tcp = (void *)p->ports;

		if (!INSIDE(tcp, sizeof(*tcp), end) || (stamp_delta && !is_stamped_plainly(tcp, end)))
			return 0;
		if (!carries_on(tcp, length, from, to))
			return 0;
		if (p->joins == SINGLE)
			tcp->checksum = finished(ctx, p, tcp->checksum);
	} else {
		struct udp *udp = (void *)p->ports;

		if (host16(udp->length) != length)
			return 0;
		if (p->joins == SINGLE)
			udp->checksum = finished(ctx, p, udp->checksum);
	}
	return 1;
}

// The client's timestamp, or the backend's echo of it, by the other end's clock. Gives what that adds to the checksum.
INLINE u32 shift_timestamp(struct tcp *tcp, u32 delta, u32 direction, void *end)
{
	struct stamps *stamps = (void *)(tcp + 1);
	u32 old, new;

	if (!delta || !has_stamps(tcp) || !INSIDE(stamps, sizeof(*stamps), end))
		return 0;
	if (direction) {
		old = stamps->echo;
		new = host32(host32(old) - delta);
		stamps->echo = new;
	} else {
		old = stamps->value;
		new = host32(host32(old) + delta);
		stamps->value = new;
	}
	old = ~old;
	return fold((old & 0xffff) + (old >> 16) + (new & 0xffff) + (new >> 16));
}

// Addresses, ports, TTL and the header's checksum, in place.
INLINE void translate_ip(struct ipv4 *ip, struct way *way)
{
	ip->source = way->to_source;
	ip->destination = way->to_destination;
	ip->ttl -= 1;
	ip->checksum = adjusted(ip->checksum, way->ip_delta);
	*(u32 *)(ip + 1) = way->to_ports;
}

// The same, and timestamps and checksums.
INLINE void translate(struct ipv4 *ip, struct way *way, u32 stamp_delta, u32 direction, void *end)
{
	struct transport *ports = (void *)(ip + 1);

	translate_ip(ip, way);
	if (ip->protocol == TCP) {
		struct tcp *tcp = (void *)ports;

		if (INSIDE(tcp, sizeof(*tcp), end)) {
			u32 delta = way->l4_delta + shift_timestamp(tcp, stamp_delta, direction, end);

			tcp->checksum = adjusted(tcp->checksum, delta);
		}
	} else {
		struct udp *udp = (void *)ports;

		if (udp->checksum) {
			udp->checksum = adjusted(udp->checksum, way->l4_delta);
			if (!udp->checksum)
				udp->checksum = 0xffff;
		}
	}
}

// What the tunnel's headers say of this packet.
INLINE void fill_outer(struct ipv4 *outer, struct ipv4 *inner, u32 length, u16 id, struct way *way)
{
	struct udp *udp = (void *)(outer + 1);
	u32 total = length + TUNNEL_LENGTH - ETHERNET_LENGTH;

	outer->tos = inner->tos;
	outer->total_length = host16(total);
	outer->id = host16(id);
	outer->checksum = host16(~fold(way->outer_sum + inner->tos + total + id));
	udp->length = host16(total - sizeof(*outer));
}

// Puts the tunnel's headers in front of a packet, where there is room for them.
INLINE void put_tunnel(void *data, struct ipv4 *inner, u32 length, u16 id, struct way *way)
{
	for (int i = 0; i < TUNNEL_LENGTH / 8; i++)
		((u64 *)data)[i] = way->header[i];
	fill_outer(data + ETHERNET_LENGTH, inner, length, id, way);
}

INLINE void put_ethernet(void *data, struct way *way)
{
	((u64 *)data)[0] = way->header[0];
	((u32 *)data)[2] = way->header[1];
	((u16 *)data)[6] = way->header[1] >> 32;
}

// Puts the way's headers where those of the arriving packet were. False: the frame has no room; it is as it was.
INLINE int send_on(struct xdp_md *ctx, struct way *way, u32 stamp_delta, u32 direction, u32 offset, u32 length, u16 id)
{
	void *data, *end;

	if (offset != way->header_length && adjust_head(ctx, (int)offset - (int)way->header_length))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (way->header_length == TUNNEL_LENGTH) {
		struct ipv4 *inner = data + TUNNEL_LENGTH;

		if (!INSIDE(inner, sizeof(*inner) + sizeof(struct udp), end))
			return 0;
		translate(inner, way, stamp_delta, direction, end);
		put_tunnel(data, inner, length, id, way);
	} else {
		struct ipv4 *ip = data + ETHERNET_LENGTH;

		if (!INSIDE(ip, sizeof(*ip) + sizeof(struct udp), end))
			return 0;
		translate(ip, way, stamp_delta, direction, end);
		put_ethernet(data, way);
	}
	return 1;
}

// What joined.h is told of a packet, in the place of its Ethernet addresses, which it will not need any more.
struct note {
	u64 mark; // the hash's key, which nobody outside can know
	u32 way;
} __attribute__((packed));

INLINE void leave_note(void *data, struct lending *lending, u32 way)
{
	struct note *note = data;

	note->mark = lending->key;
	note->way = way;
}

// The flow's packets go to its worker from now on, this one and all that follow.
INLINE int end_loan(struct shortcut *shortcut)
{
	*(volatile u32 *)&shortcut->live = 0;
	return NOT_TAKEN;
}

// The frame of a short packet, as it comes from a wire.
INLINE int is_padded(struct passage *p, void *data, void *end)
{
	return p->offset == ETHERNET_LENGTH && p->length < SHORTEST - ETHERNET_LENGTH && data + SHORTEST == end;
}

// Sends a packet of a lent flow on. NOT_TAKEN: it is none, or one for the worker; it is as it was, but for padding and an unfinished
// checksum. XDP_ABORTED: the interface that it should leave by is gone. XDP_PASS, with JOINS only: it goes on in joined.h.
INLINE int take_shortcut(struct xdp_md *ctx, enum joins joins)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct passage passage = {.frame = length_of(ctx, joins), .joins = joins};
	u32 zero = 0, number, noted, direction, verdict = SHORTCUT;
	struct lending *lending = map_lookup(&terms, &zero);
	struct shortcut *shortcut;
	struct side *from;
	struct way *way;
	u64 now, *packets;

	if (!lending || !lending->generation || !find_passage(&passage, lending, data, end))
		return NOT_TAKEN;
	number = find_way(&passage, lending);
	if (!number)
		return NOT_TAKEN;
	if (is_padded(&passage, data, end)) {
		if (adjust_tail(ctx, (int)passage.length - (SHORTEST - ETHERNET_LENGTH)))
			return NOT_TAKEN;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		passage.frame = length_of(ctx, joins);
		if (!find_passage(&passage, lending, data, end))
			return NOT_TAKEN;
	}
	noted = number - 1;
	direction = noted & 1;
	number = noted >> 1;
	shortcut = map_lookup(&shortcuts, &number);
	if (!shortcut || !*(volatile u32 *)&shortcut->live)
		return NOT_TAKEN;
	way = &shortcut->ways[direction];
	if (!has_key(passage.ip, way) || is_astray(&passage, way))
		return NOT_TAKEN;
	if (!is_addressed_to_us(ctx, &shortcut->ways[direction ^ 1], data, end))
		return NOT_TAKEN;
	from = &shortcut->sides[direction];
	now = coarse_now();
	packets = map_lookup(&verdicts, &verdict);
	if (!packets || shortcut->generation != lending->generation || now > shortcut->until)
		return end_loan(shortcut);
	if (!may_join(&passage, from, &shortcut->queued[direction], end))
		return NOT_TAKEN;
	if (!came_by(&passage, way, ctx, data) ||
	    !is_steady(ctx, &passage, way, shortcut->stamp_delta, &from->seen, seen_of(shortcut, direction ^ 1), end))
		return end_loan(shortcut);
	if (joins == JOINS)
		leave_note(data, lending, noted);
	else if (!send_on(ctx, way, shortcut->stamp_delta, direction, passage.offset, passage.length, *packets))
		return end_loan(shortcut);
	*packets += 1;
	from->packets += 1;
	from->bytes += passage.length;
	from->heard = now;
	*(volatile u8 *)&from->seen.joined = 1;
	return joins == JOINS ? XDP_PASS : redirect_map(&outputs, way->output, 0);
}
