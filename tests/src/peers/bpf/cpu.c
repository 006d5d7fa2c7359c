// CPU time of network softirqs, by the network namespace that each packet is in.
//
// On veth the receive side of every hop runs in whoever sent the packet: the client's send() may carry a packet through
// the gateway and on to the server. What a process was charged for therefore says little. Here each stretch of time
// inside NET_RX and NET_TX belongs to the namespace of the device that last received a packet in it.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define RELOCATED __attribute__((preserve_access_index))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

enum { MAP_PERCPU_HASH = 5, MAP_PERCPU_ARRAY = 6 };
enum { NET_TX = 2, NET_RX = 3 };

static void *(*lookup)(void *map, const void *key) = (void *)1;
static u64 (*now_ns)(void) = (void *)5;
static u64 (*current_pid_tgid)(void) = (void *)14;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;

// The few fields of the kernel's types that are read; their places come from the running kernel's BTF.
struct ns_common {
    u32 inum;
} RELOCATED;
struct net {
    struct ns_common ns;
} RELOCATED;
struct net_pointer {
    struct net *net;
};
struct net_device {
    struct net_pointer nd_net;
} RELOCATED;
struct sk_buff {
    struct net_device *dev;
} RELOCATED;
struct napi_struct {
    struct net_device *dev;
} RELOCATED;

struct arguments {
    u64 at[3];
};

// What this CPU is at. `place` 0: in a softirq, no packet seen yet.
struct state {
    u64 last;
    u32 place;
    u32 inside;
};

struct {
    UINT(type, MAP_PERCPU_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct state);
} states SECTION(".maps");

// Nanoseconds by namespace (inode number). User space puts in the namespaces of the lab, and 0 for all else.
struct {
    UINT(type, MAP_PERCPU_HASH);
    UINT(max_entries, 256);
    TYPE(key, u32);
    TYPE(value, u64);
} places SECTION(".maps");

// Nanoseconds of a process outside those softirqs. User space puts in the processes that it asks about.
struct {
    UINT(type, MAP_PERCPU_HASH);
    UINT(max_entries, 256);
    TYPE(key, u32);
    TYPE(value, u64);
} processes SECTION(".maps");

static inline struct state *state(void) {
    u32 zero = 0;
    return lookup(&states, &zero);
}

static inline u32 place_of(struct net_device *dev) {
    struct net *net = 0;
    u32 inum = 0;
    read_kernel(&net, sizeof net, &dev->nd_net);
    read_kernel(&inum, sizeof inum, &net->ns.inum);
    return inum;
}

static inline void charge(struct state *s, u32 place, u64 now) {
    u32 elsewhere = 0;
    u64 *sum = lookup(&places, &place);
    if (!sum)
        sum = lookup(&places, &elsewhere);
    if (sum)
        *sum += now - s->last;
    s->last = now;
}

// The time until now was the running process's own.
static inline void charge_process(struct state *s, u64 now) {
    u32 process = current_pid_tgid() >> 32;
    u64 *sum = lookup(&processes, &process);
    if (sum && s->last)
        *sum += now - s->last;
    s->last = now;
}

SECTION("raw_tracepoint/softirq_entry") int begin(struct arguments *arguments) {
    struct state *s = state();
    if (!s || (arguments->at[0] != NET_RX && arguments->at[0] != NET_TX))
        return 0;
    charge_process(s, now_ns());
    s->place = 0;
    s->inside = 1;
    return 0;
}

SECTION("raw_tracepoint/softirq_exit") int end(struct arguments *arguments) {
    struct state *s = state();
    if (!s || !s->inside || (arguments->at[0] != NET_RX && arguments->at[0] != NET_TX))
        return 0;
    charge(s, s->place, now_ns());
    s->inside = 0;
    return 0;
}

// The process that leaves the CPU is still the current one here.
SECTION("raw_tracepoint/sched_switch") int leave(struct arguments *arguments) {
    struct state *s = state();
    if (s && !s->inside)
        charge_process(s, now_ns());
    return 0;
}

SECTION("raw_tracepoint/netif_receive_skb") int receive(struct arguments *arguments) {
    struct state *s = state();
    if (!s || !s->inside)
        return 0;
    struct sk_buff *skb = (void *)arguments->at[0];
    struct net_device *dev = 0;
    read_kernel(&dev, sizeof dev, &skb->dev);
    u32 place = place_of(dev);
    if (place == s->place)
        return 0;
    // Time before the first packet was spent on fetching it.
    charge(s, s->place ? s->place : place, now_ns());
    s->place = place;
    return 0;
}

// Fires after a poll. XDP takes packets away before they are "received": their poll names the device.
SECTION("raw_tracepoint/napi_poll") int polled(struct arguments *arguments) {
    struct state *s = state();
    if (!s || !s->inside)
        return 0;
    struct napi_struct *napi = (void *)arguments->at[0];
    struct net_device *dev = 0;
    read_kernel(&dev, sizeof dev, &napi->dev);
    u32 place = s->place;
    if (!place && dev)
        place = place_of(dev);
    charge(s, place, now_ns());
    s->place = 0;
    return 0;
}

char gpl[] SECTION("license") = "GPL";
