// CPU time of network softirqs, by the network namespace that each packet is in.
//
// On veth the receive side of every hop runs in whoever sent the packet: the client's send() may carry a packet through
// the gateway and on to the server. What a process was charged for therefore says little. Here each stretch of time
// inside NET_RX and NET_TX belongs to the namespace of the device that last received a packet in it.
//
// It runs several times for each packet, and would be a part of what it measures. So each hook looks at the clock when it begins
// and when it ends, and that time belongs to nobody. What is left in is the way into a hook and out of it. And it is short: typed
// tracepoints, whose arguments are read by plain loads; all sums of a CPU in one array, which is found without a call; one hash
// lookup.

typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define RELOCATED __attribute__((preserve_access_index))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

enum { MAP_HASH = 1, MAP_PERCPU_ARRAY = 6 };
enum { NET_TX = 2, NET_RX = 3 };
// Sums: nobody's yet, everybody else's, and those that user space gave a number.
enum { NOBODY, OTHERS, SUMS = 64 };

static void *(*lookup)(void *map, const void *key) = (void *)1;
static u64 (*now_ns)(void) = (void *)5;
static u64 (*current_pid_tgid)(void) = (void *)14;

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

// What this CPU is at, and what it spent. `last`: since when time has been nobody's yet. `place`: whose packet was seen last in
// this softirq.
struct state {
    u64 last;
    u32 place;
    u32 inside;
    u64 spent[SUMS];
};

// As user space reads it: words of 64 bits.
struct {
    UINT(type, MAP_PERCPU_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct state);
} states SECTION(".maps");

// The number of a namespace's sum, by inode number.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, SUMS);
    TYPE(key, u32);
    TYPE(value, u32);
} places SECTION(".maps");

// The number of a process's sum.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, SUMS);
    TYPE(key, u32);
    TYPE(value, u32);
} processes SECTION(".maps");

static inline struct state *state(void) {
    u32 zero = 0;
    return lookup(&states, &zero);
}

static inline u32 number(u32 *found) {
    return found ? *found : OTHERS;
}

static inline u32 place_of(struct net_device *dev) {
    u32 inode = dev->nd_net.net->ns.inum;
    return number(lookup(&places, &inode));
}

// The time until this hook began was of that sum.
static inline void charge(struct state *s, u32 sum, u64 began) {
    if (s->last && sum < SUMS)
        s->spent[sum] += began - s->last;
    s->last = began;
}

// The time until this hook began was the running process's own.
static inline void charge_process(struct state *s, u64 began) {
    u32 process = current_pid_tgid() >> 32;
    charge(s, process ? number(lookup(&processes, &process)) : OTHERS, began);
}

// This hook ends: its time is left out.
static inline int leave_out(struct state *s, u64 began) {
    s->last += now_ns() - began;
    return 0;
}

SECTION("tp_btf/softirq_entry") int begin(u64 *arguments) {
    if (arguments[0] != NET_RX && arguments[0] != NET_TX)
        return 0;
    u64 began = now_ns();
    struct state *s = state();
    if (!s)
        return 0;
    charge_process(s, began);
    s->place = NOBODY;
    s->inside = 1;
    return leave_out(s, began);
}

SECTION("tp_btf/softirq_exit") int end(u64 *arguments) {
    if (arguments[0] != NET_RX && arguments[0] != NET_TX)
        return 0;
    u64 began = now_ns();
    struct state *s = state();
    if (!s || !s->inside)
        return 0;
    charge(s, s->place, began);
    s->inside = 0;
    return leave_out(s, began);
}

// The process that leaves the CPU is still the current one here.
SECTION("tp_btf/sched_switch") int leave(u64 *arguments) {
    u64 began = now_ns();
    struct state *s = state();
    if (!s || s->inside)
        return 0;
    charge_process(s, began);
    return leave_out(s, began);
}

SECTION("tp_btf/netif_receive_skb") int receive(u64 *arguments) {
    u64 began = now_ns();
    struct state *s = state();
    if (!s || !s->inside)
        return 0;
    struct sk_buff *skb = (void *)arguments[0];
    u32 place = place_of(skb->dev);
    if (place != s->place) {
        // Time before the first packet was spent on fetching it.
        charge(s, s->place ? s->place : place, began);
        s->place = place;
    }
    return leave_out(s, began);
}

// Fires after a poll. XDP takes packets away before they are "received": their poll names the device.
SECTION("tp_btf/napi_poll") int polled(u64 *arguments) {
    u64 began = now_ns();
    struct state *s = state();
    if (!s || !s->inside)
        return 0;
    struct napi_struct *napi = (void *)arguments[0];
    u32 place = s->place;
    if (!place && napi->dev)
        place = place_of(napi->dev);
    charge(s, place, began);
    s->place = NOBODY;
    return leave_out(s, began);
}

char gpl[] SECTION("license") = "GPL";
