//! What is wrong, where, and what to do about it: the words are in `snapshots/`.

use super::super::parse;
use super::{BASE, CPUS, OVERLAY, cases, parse_text, rendered};

/// One line in `[gateway]`.
fn gateway(title: &'static str, line: &str) -> (&'static str, String) {
    (title, format!("{BASE}[gateway]\n{line}\n"))
}

/// One line in `[overlay]`, in the place of the line with the same key.
fn overlay(title: &'static str, line: &str) -> (&'static str, String) {
    let key = line.split(' ').next().unwrap();
    let kept: String = OVERLAY.lines().filter(|old| !old.starts_with(key)).flat_map(|old| [old, "\n"]).collect();
    (title, format!("{BASE}{kept}{line}\n"))
}

/// A service with a backend that work, and one more line.
fn service(title: &'static str, line: &str) -> (&'static str, String) {
    let key = line.split(' ').next().unwrap();
    let table: String = ["name = \"web\"", "listen = \"198.18.0.1:80\""]
        .iter()
        .filter(|old| !old.starts_with(key))
        .flat_map(|old| [*old, "\n"])
        .collect();
    (title, format!("{BASE}[[service]]\n{table}{line}\n[[service.backend]]\naddress = \"192.0.2.1\"\n"))
}

/// A backend with these lines, and the overlay.
fn backend(title: &'static str, lines: &str) -> (&'static str, String) {
    let service = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n[[service.backend]]\n";
    (title, format!("{BASE}{OVERLAY}{service}{lines}\n"))
}

#[test]
fn syntax() {
    assert_words!(cases(&[
        (
            "an address without quotes",
            format!("{BASE}[overlay]\nvni = 1\nvtep = 198.18.1.1\naddress = \"10.0.0.3/24\"\n")
        ),
        ("two broken lines", format!("{BASE}[gateway]\nflows = \ncpus = [0\n\nmetrics = \"127.0.0.1:1\"\n")),
        ("a key twice", format!("{BASE}[gateway]\nflows = 1000\nflows = 2000\n")),
        ("an open string", format!("{BASE}[gateway]\napi = \"/run/x\n")),
    ]));
}

#[test]
fn keys_and_types() {
    assert_words!(cases(&[
        ("an unknown key, nearly known", format!("{BASE}[gateway]\nflow = 1000\n")),
        ("an unknown key, far from all", format!("{BASE}[gateway]\ncolour = \"blue\"\n")),
        ("an unknown table", format!("{BASE}[[services]]\nname = \"web\"\n")),
        ("a number in quotes", format!("{BASE}[gateway]\nflows = \"1000\"\n")),
        ("a string without need", service("", "name = 7").1),
        ("one bracket instead of two", "[interface]\nname = \"eth0\"\n".to_owned()),
        ("two brackets instead of one", format!("{BASE}[[gateway]]\nflows = 1000\n")),
        ("a huge number", format!("{BASE}[gateway]\nflows = 99999999999999999999\n")),
        ("a fraction", format!("{BASE}[gateway]\nflows = 1.5\n")),
        ("a weight that is true", backend("", "address = \"192.0.2.1\"\nweight = true").1),
        ("a switch that is a number", service("", "direct = 1").1),
        ("a time that is true", service("", "timeout = true").1),
        ("a list of names", service("", "name = [\"web\"]").1),
        ("a number for a table", format!("gateway = 3\n{BASE}")),
        ("a text for a list", format!("{BASE}[gateway]\ncpus = \"0\"\n")),
        ("a number for a switch or a table", service("", "passive = 3").1),
        ("control characters", "[[interface]]\nname = \"eth0\"\ndriver = \"\\u001b[2J\\u009b\\n\"\n".to_owned()),
        ("a list of numbers for listen", service("", "listen = [80]").1),
        ("missing keys", format!("{BASE}[overlay]\n[[service]]\n[[service.backend]]\n[[interface]]\n")),
        ("an empty file", String::new()),
    ]));
}

#[test]
fn gateway_table() {
    assert_words!(cases(&[
        gateway("no such CPU", "cpus = [0, 7]"),
        gateway("a CPU twice", "cpus = [0, 0]"),
        gateway("no CPU", "cpus = []"),
        gateway("no flows", "flows = 0"),
        gateway("absurdly many flows", "flows = 1_000_000_000_000"),
        gateway("fewer flows than workers", "flows = 1"),
        gateway("a relative socket", "api = \"run/api.sock\""),
        gateway("a long socket", &format!("api = \"/{}\"", "x".repeat(120))),
        gateway("metrics without a port", "metrics = \"127.0.0.1\""),
        gateway("metrics on port 0", "metrics = \"127.0.0.1:0\""),
        gateway("a snat that is no address", "snat = [\"198.18.1.300\", \"::1\"]"),
        gateway("a snat twice", "snat = [\"198.18.1.1\", \"198.18.1.1\"]"),
        gateway("an unknown choice for shortcuts, nearly known", "shortcuts = \"alway\""),
        gateway("an unknown choice for shortcuts", "shortcuts = \"on\""),
        gateway("a switch for shortcuts", "shortcuts = true"),
        ("an unknown timeout", format!("{BASE}[timeouts]\ntcp_etablished = \"2h\"\n")),
        ("a timeout without effect", format!("{BASE}[timeouts]\nicmp = \"1m\"\n")),
        ("odd timeouts", format!("{BASE}[timeouts]\ntcp_established = \"2 fortnights\"\nudp = 0\nicmp = true\n")),
    ]));
}

#[test]
fn interfaces() {
    let interface = |title, lines: &str| (title, format!("[[interface]]\n{lines}\n"));
    assert_words!(cases(&[
        interface("an unknown driver", "name = \"eth0\"\ndriver = \"afxdp\""),
        interface("an unknown mode", "name = \"eth0\"\nmode = \"zerocopy\""),
        interface("a mode for TUN", "name = \"t0\"\ndriver = \"tun\"\nmode = \"copy\""),
        interface("queues for TUN", "name = \"t0\"\ndriver = \"tun\"\nqueues = [0]"),
        interface("a long name", "name = \"averyveryverylong\""),
        interface("an impossible name", "name = \"eth 0\""),
        interface("twice", "name = \"eth0\"\n[[interface]]\nname = \"eth0\""),
        interface("a queue twice", "name = \"eth0\"\nqueues = [1, 1]"),
        interface("no queue", "name = \"eth0\"\nqueues = []"),
        interface("a negative queue", "name = \"eth0\"\nqueues = [-1]"),
        ("no interface", OVERLAY.to_owned()),
        ("an empty list of interfaces", format!("interface = []\n{OVERLAY}")),
    ]));
}

#[test]
fn overlay_table() {
    assert_words!(cases(&[
        overlay("vni 0", "vni = 0"),
        overlay("vni of 25 bits", "vni = 16777216"),
        overlay("no prefix", "address = \"10.0.0.3\""),
        overlay("a prefix without room", "address = \"10.0.0.3/31\""),
        overlay("the network's own address", "address = \"10.0.0.0/24\""),
        overlay("a VTEP with a prefix", "vtep = \"198.18.1.1/24\""),
        overlay("a multicast VTEP", "vtep = \"239.1.1.1\""),
        overlay("snat outside", "snat = [\"10.0.1.4\"]"),
        overlay("snat is address", "snat = \"10.0.0.3\""),
        overlay("a short MAC", "mac = \"02:42:0a:00:03\""),
        overlay("a multicast MAC", "mac = \"01:00:5e:00:00:03\""),
        overlay("a tiny MTU", "mtu = 68"),
        overlay("a huge MTU", "mtu = 70000"),
        overlay("port 0", "port = 0"),
    ]));
}

#[test]
fn services() {
    let two = |title, a: &str, b: &str| {
        let backend = "[[service.backend]]\naddress = \"192.0.2.1:80\"\n";
        (title, format!("{BASE}[[service]]\nname = {a}\n{backend}[[service]]\nname = {b}\n{backend}"))
    };
    assert_words!(cases(&[
        two("a name twice", "\"web\"\nlisten = \"198.18.0.1:80\"", "\"web\"\nlisten = \"198.18.0.1:81\""),
        two("the same port", "\"a\"\nlisten = \"198.18.0.1:80\"", "\"b\"\nlisten = \"198.18.0.1:80/tcp\""),
        two("ranges that overlap", "\"a\"\nlisten = \"198.18.0.1:80-90\"", "\"b\"\nlisten = \"198.18.0.1:90-99\""),
        two("the other protocol is free", "\"a\"\nlisten = \"198.18.0.1:80\"", "\"b\"\nlisten = \"198.18.0.1:80/udp\""),
        service("twice in one service", "listen = [\"198.18.0.1:80\", \"198.18.0.1:80/tcp\"]"),
        service("a name with a slash", "name = \"a/b\""),
        service("no name", "name = \"\""),
        service("an unknown scheduler, nearly known", "scheduler = \"r\""),
        service("an unknown scheduler", "scheduler = \"fastest\""),
        service("an unknown choice", "timestamps = \"keeps\""),
        service("a word for a switch", "direct = \"yes\""),
        service("no time at all", "timeout = \"0s\""),
        service("a time without a unit", "timeout = \"10\""),
        service(
            "another port behind a direct service",
            "direct = true\n[[service.backend]]\naddress = \"192.0.2.1:81\""
        ),
        service(
            "a range before a port",
            "listen = \"198.18.0.1:80-90\"\ndirect = true\n[[service.backend]]\naddress = \"192.0.2.1:80\""
        ),
        service("a header where nothing is translated", "direct = true\nproxy_protocol = true"),
        service("a word for the header", "proxy_protocol = \"v2\""),
        service("no port", "listen = \"198.18.0.1\""),
        service("port 0", "listen = \"198.18.0.1:0\""),
        service("port 65536", "listen = \"198.18.0.1:65536\""),
        service("a range backwards", "listen = \"198.18.0.1:90-80\""),
        service("an unknown protocol", "listen = \"198.18.0.1:80/tpc\""),
        service("SCTP", "listen = \"198.18.0.1:80/sctp\""),
        service("a multicast VIP", "listen = \"224.0.0.1:80\""),
        service("a broadcast VIP", "listen = \"255.255.255.255:80\""),
        service("any VIP", "listen = \"0.0.0.0:80\""),
        service("a loopback VIP", "listen = \"127.0.0.1:80\""),
        service("a name as VIP", "listen = \"www.example.org:80\""),
        service("an empty list", "listen = []"),
    ]));
}

#[test]
fn ipv6() {
    let vtep = "vtep = \"198.18.1.11\"";
    assert_words!(cases(&[
        service("no brackets", "listen = \"2001:db8::1:8080/tcp\""),
        service("no brackets, and clearly a range", "listen = \"2001:db8::1:80-90\""),
        service("brackets and no port", "listen = \"[2001:db8::1]/tcp\""),
        service("half a bracket", "listen = \"[2001:db8::1:80\""),
        service("IPv4 in brackets", "listen = \"[198.18.0.1]:80\""),
        service("any VIP", "listen = \"[::]:80\""),
        service("a loopback VIP", "listen = \"[::1]:80\""),
        service("a link-local VIP", "listen = \"[fe80::1]:80\""),
        service("a zone", "listen = \"[fe80::1%eth0]:80\""),
        service("a multicast VIP", "listen = \"[ff02::1]:80\""),
        service("IPv4 in IPv6's form", "listen = \"[::ffff:198.18.0.1]:80\""),
        service("the same in two forms", "listen = [\"[2001:db8::1]:80\", \"[2001:DB8:0:0::1]:80\"]"),
        service("beside IPv4", "listen = [\"198.18.0.1:80\", \"[2001:db8::1]:80\"]"),
        service("direct, from IPv6 to IPv4", "listen = \"[2001:db8::1]:80\"\ndirect = true"),
        service("direct, from IPv4 to IPv6", "direct = true\n[[service.backend]]\naddress = \"2001:db8:1::11\""),
        service("a prefix too long", "persistence = \"5m\"\npersistence_prefix_ipv6 = 129"),
        service("a prefix for itself", "persistence_prefix_ipv6 = 56"),
        backend("a VTEP of IPv6", "address = \"10.0.0.11:80\"\nvtep = \"2001:db8:1::11\""),
        backend("IPv6 in the overlay", &format!("address = \"[2001:db8:1::11]:80\"\n{vtep}")),
        backend("a backend without brackets", "address = \"2001:db8:1::11:80x\""),
        backend("a backend's port", "address = \"[2001:db8:1::11]:http\""),
        overlay("an overlay of IPv6", "address = \"2001:db8::3/64\""),
        overlay("a source of IPv6 in the overlay", "snat = \"2001:db8::4\""),
        gateway("a source twice", "snat = [\"2001:db8::4\", \"2001:db8:0::4\"]"),
    ]));
}

#[test]
fn life() {
    assert_words!(cases(&[
        service("slow start in turn", "slow_start = \"30s\""),
        service("slow start by lot", "slow_start = \"30s\"\nscheduler = \"twos\""),
        service("no time", "drain_deadline = \"0s\""),
        service("down, but who says so?", "on_down = \"reset\""),
        service("an unknown choice", "on_down = \"kill\""),
        service("down by checks", "on_down = \"reset\"\n[service.check]\ntype = \"tcp\"\nport = 80"),
    ]));
}

#[test]
fn times_by_state() {
    let times = |title, lines: &str| service(title, &format!("[service.timeouts]\n{lines}"));
    assert_words!(cases(&[
        times("good ones", "tcp_syn_sent = \"5s\"\ntcp_time_wait = 30"),
        times("no time", "tcp_syn_sent = \"0s\""),
        times("no such state", "tcp_syn_snet = \"5s\""),
        times("no state of a service's flows", "icmp = \"5s\""),
        times("UDP in a service for TCP", "udp_stream = \"5s\""),
        service("TCP in a service for UDP", "listen = \"198.18.0.1:53/udp\"\n[service.timeouts]\ntcp_close = \"5s\""),
        service("no table", "timeouts = \"5s\""),
    ]));
}

#[test]
fn one_packet() {
    let udp = "listen = \"198.18.0.1:53/udp\"";
    assert_words!(cases(&[
        service("DNS", &format!("{udp}\none_packet = true")),
        service("TCP", "one_packet = true"),
        service("no connections to count", &format!("{udp}\nscheduler = \"lc\"\none_packet = true")),
        service("a misspelt key", &format!("{udp}\none_paket = true")),
        service("a header for each?", &format!("{udp}\none_packet = true\nproxy_protocol = true")),
    ]));
}

#[test]
fn flow_log() {
    let log = |title, lines: &str| (title, format!("{BASE}[flow_log]\n{lines}\n"));
    assert_words!(cases(&[
        log("all", "path = \"/var/log/flows.jsonl\""),
        log("one event", "path = \"/var/log/flows.jsonl\"\nevents = \"close\""),
        log("nowhere", ""),
        log("a relative path", "path = \"flows.jsonl\""),
        log("a directory", "path = \"/var/log/\""),
        log("no event", "path = \"/var/log/flows.jsonl\"\nevents = []"),
        log("no event and no path", "path = \"flows.jsonl\"\nevents = []"),
        log("an unknown event", "path = \"/var/log/flows.jsonl\"\nevents = [\"opne\"]"),
        log("a misspelt key", "path = \"/var/log/flows.jsonl\"\nevent = \"open\""),
    ]));
}

#[test]
fn passive() {
    assert_words!(cases(&[
        service("a switch", "passive = true"),
        service("a table", "[service.passive]\nfailures = 5\nwindow = \"1m\"\nejection = 30\nfloor = 2"),
        service("neither", "passive = \"yes\""),
        service("no failure", "[service.passive]\nfailures = 0"),
        service("no rest", "[service.passive]\nejection = \"0s\""),
        service("a misspelt key", "[service.passive]\nflor = 2"),
        service("no handshake", "listen = \"198.18.0.1:53/udp\"\npassive = true"),
        service("off all the same", "listen = \"198.18.0.1:53/udp\"\npassive = false"),
    ]));
}

#[test]
fn persistence() {
    let group = |title, second: &str| {
        let shop = "persistence = \"5m\"\npersistence_group = \"shop\"";
        let backend = "[[service.backend]]\naddress = \"192.0.2.1\"\n";
        let of = |name, port, lines| {
            format!("[[service]]\nname = \"{name}\"\nlisten = \"198.18.0.1:{port}\"\n{lines}\n{backend}")
        };
        (title, format!("{BASE}{}{}", of("http", 80, shop), of("https", 443, second)))
    };
    assert_words!(cases(&[
        service("no time", "persistence = \"0s\""),
        service("a year", "persistence = \"365d\""),
        service("a switch", "persistence = true"),
        service("a prefix for itself", "persistence_prefix = 24"),
        service("room for itself", "persistence_clients = 2000"),
        service("a group for itself", "persistence_group = \"shop\""),
        service("no prefix", "persistence = 300\npersistence_prefix = 0"),
        service("a prefix of IPv6", "persistence = 300\npersistence_prefix = 64"),
        service("little room", "persistence = 300\npersistence_clients = 10"),
        service("no name", "persistence = 300\npersistence_group = \"\""),
        service("a misspelt key", "persistance = \"5m\""),
        group("another time in a group", "persistence = \"1m\"\npersistence_group = \"shop\""),
        group(
            "another prefix in a group",
            "persistence = \"300s\"\npersistence_group = \"shop\"\npersistence_prefix = 24"
        ),
        group("the same in a group", "persistence = \"300s\"\npersistence_group = \"shop\"\npersistence_prefix = 32"),
        group("another group", "persistence = \"1m\"\npersistence_group = \"chat\""),
    ]));
}

#[test]
fn checks() {
    let check = |title, lines: &str| service(title, &format!("[service.check]\n{lines}"));
    let on_udp =
        |title, lines: &str| service(title, &format!("listen = \"198.18.0.1:53/udp\"\n[service.check]\n{lines}"));
    assert_words!(cases(&[
        check("no type", ""),
        check("an unknown type", "type = \"htp\""),
        check("a misspelt key", "type = \"tcp\"\nintervall = \"1s\""),
        check("a key of another type", "type = \"http\"\nexpect = \"x\""),
        check("a path for nobody", "type = \"udp\"\npath = \"/\""),
        check("a timeout longer than the interval", "type = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1500ms\""),
        check("a timeout longer than the default interval", "type = \"tcp\"\ntimeout = 3"),
        check("no time at all", "type = \"tcp\"\ninterval = \"0s\""),
        check("never up again", "type = \"tcp\"\nrise = 0"),
        check("never down", "type = \"tcp\"\nfall = 0"),
        check("port 0", "type = \"tcp\"\nport = 0"),
        check("no status", "type = \"http\"\nstatus = \"2xx\""),
        check("statuses backwards", "type = \"http\"\nstatus = \"399-200\""),
        check("a status that is none", "type = \"http\"\nstatus = 99"),
        check("a relative path", "type = \"http\"\npath = \"healthz\""),
        check("a path that brings a header", "type = \"http\"\npath = \"/ HTTP/1.0\\r\\nX: y\""),
        check("a host that is a URL", "type = \"https\"\nhost = \"https://www.example.org\""),
        check("nothing to look for", "type = \"http\"\nbody = \"\""),
        check("an MD5", "type = \"http\"\ndigest = \"d41d8cd98f00b204e9800998ecf8427e\""),
        check("half an escape", "type = \"udp\"\nsend = '\\x4'"),
        on_udp("TCP where nobody listens", "type = \"tcp\""),
        on_udp("HTTP where nobody listens", "type = \"http\""),
        check("UDP where nobody listens", "type = \"udp\""),
        on_udp("somewhere else is fine", "type = \"http\"\nport = 8080"),
        service("which port?", "listen = \"198.18.0.1:80-90\"\n[service.check]\ntype = \"tcp\""),
        service("the only port", "listen = [\"198.18.0.1:80\", \"198.18.0.2:80\"]\n[service.check]\ntype = \"tcp\""),
        check("a list", "type = []"),
        ("not a table", format!("{BASE}[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\ncheck = \"tcp\"\n")),
    ]));
}

#[test]
fn protection() {
    assert_words!(cases(&[
        service("a host with a length", "deny = \"198.18.0.7/16\""),
        service("too long", "allow = [\"198.18.0.0/16\", \"198.18.0.0/33\"]"),
        service("a name", "allow = [\"example.org\"]"),
        service("a number", "deny = 7"),
        service("nobody, or everybody?", "allow = []"),
        service("nobody is kept out", "deny = []"),
        service(
            "IPv4 in IPv6's form",
            "deny = [\"::ffff:203.0.113.7\", \"::ffff:198.18.0.0/112\", \"::ffff:203.0.113.7/100\"]"
        ),
        service("no unit", "rate = \"100\""),
        service("a bare number", "rate_per_source = 100"),
        service("no flows at all", "rate = \"0/s\""),
        service("a burst for itself", "rate_burst = 100"),
        service("a burst of a rate for all", "rate = \"100/s\"\nrate_per_source_burst = 100"),
        service("a burst that takes months", "rate_per_source = \"1/h\"\nrate_per_source_burst = 1000"),
        service("cookies now and then", "syn_cookies = \"sometimes\""),
        service("cookies over UDP", "listen = \"198.18.0.1:53/udp\"\nsyn_cookies = \"always\""),
        service("cookies around us", "direct = true\nsyn_cookies = \"always\""),
        service("what only the API shows", "evicted_clients = 7"),
        service("a number that nobody looks at", "syn_cookies = \"never\"\nhalf_open = 500"),
        service("hardly any", "half_open = 1"),
        service(
            "cookies for part of it",
            "listen = [\"198.18.0.1:53/udp\", \"198.18.0.1:53\"]\nsyn_cookies = \"always\""
        ),
        service("fine", "allow = [\"198.18.0.0/16\", \"2001:db8::/32\"]\nrate = \"100/s\"\nrate_burst = 1"),
    ]));
}

#[test]
fn backends() {
    let good = "address = \"10.0.0.11:80\"\nvtep = \"198.18.1.11\"";
    let swarm = "[swarm]\nvips = \"198.18.0.2\"\n";
    let no_overlay = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n[[service.backend]]\n";
    assert_words!(cases(&[
        ("a vtep without an overlay", format!("{BASE}{no_overlay}{good}\n")),
        ("a vtep, but only the swarm knows the overlay", format!("{BASE}{swarm}{no_overlay}{good}\n")),
        (
            "an overlay that the swarm completes",
            format!("{BASE}{swarm}[overlay]\nvtep = \"198.18.1.1\"\n{no_overlay}{good}\n"),
        ),
        (
            "an overlay that needs no swarm",
            format!("{BASE}{swarm}[overlay]\nvtep = \"198.18.1.1\"\naddress = \"10.0.0.3/24\"\n{no_overlay}{good}\n"),
        ),
        (
            "with a swarm, a broken overlay is the only error",
            format!("{BASE}{swarm}[overlay]\nvtep = \"::1\"\n{no_overlay}{good}\n"),
        ),
        ("a broken overlay is the only error", format!("{BASE}[overlay]\nvni = 0\n{no_overlay}{good}\n")),
        backend("outside the subnet", "address = \"10.0.1.11:80\"\nvtep = \"198.18.1.11\""),
        backend("the subnet's broadcast address", "address = \"10.0.0.255:80\"\nvtep = \"198.18.1.11\""),
        backend("our own overlay address", "address = \"10.0.0.3:80\"\nvtep = \"198.18.1.11\""),
        backend("our own VTEP", "address = \"10.0.0.11:80\"\nvtep = \"198.18.1.1\""),
        backend("twice", &format!("{good}\n[[service.backend]]\n{good}")),
        backend("too heavy", &format!("{good}\nweight = 65536")),
        backend("lighter than nothing", &format!("{good}\nweight = -1")),
        backend("a MAC without a vtep", "address = \"192.0.2.1:80\"\nmac = \"02:42:0a:00:00:0b\""),
        backend("port 0", "address = \"10.0.0.11:0\"\nvtep = \"198.18.1.11\""),
        backend("a misspelt key", &format!("{good}\nwieght = 2")),
        backend("keys of the service", &format!("{good}\nscheduler = \"wrr\"\nsyn_cookies = \"always\"\nname = \"b\"")),
        (
            "a VIP on the tunnel's port",
            format!("{BASE}{OVERLAY}[[service]]\nname = \"web\"\nlisten = \"198.18.1.1:4000-5000/udp\"\n"),
        ),
    ]));
}

#[test]
fn swarm_table() {
    let swarm = |title: &'static str, lines: &str| (title, format!("{BASE}[swarm]\n{lines}\n"));
    let vips = "vips = \"198.18.0.1\"";
    assert_words!(cases(&[
        swarm("no VIPs", ""),
        swarm("an empty list of VIPs", "vips = []"),
        swarm("a VIP twice", "vips = [\"198.18.0.1\", \"198.18.0.1\"]"),
        swarm("no such endpoint", &format!("{vips}\nendpoints = \"http://manager:2375\"")),
        swarm("a relative socket", &format!("{vips}\nengine = \"unix://docker.sock\"")),
        swarm("port 0", &format!("{vips}\nendpoints = [\"tcp://manager:0\"]")),
        swarm("without TLS", &format!("{vips}\nendpoints = [\"tcp://manager:2375\"]")),
        swarm("half of TLS", &format!("{vips}\nca = \"/ca.pem\"\ncert = \"cert.pem\"")),
        swarm("maybe a member", &format!("{vips}\nmember = \"maybe\"")),
        swarm("a network without a name", &format!("{vips}\nnetwork = \"\"")),
        swarm("a further overlay without a place", &format!("{vips}\n[[swarm.overlay]]\nnetwork = \"back\"")),
        swarm("a further overlay without a name", &format!("{vips}\n[[swarm.overlay]]\naddress = \"10.7.0.250/24\"")),
        swarm(
            "what all overlays share",
            &format!(
                "{vips}\n[[swarm.overlay]]\nnetwork = \"back\"\naddress = \"10.7.0.250/24\"\nvtep = \"198.18.1.1\""
            ),
        ),
        swarm("a misspelt key", &format!("{vips}\nendpoint = \"unix:///a\"")),
    ]));
}

#[test]
fn all_errors_come_at_once_and_in_order() {
    let text = "[gateway]\ncpus = [9]\nflow = 1\n\n[[interface]]\nname = \"eth0\"\nmod = \"auto\"\n\n\
                [[service]]\nname = \"web\"\nlisten = \"198.18.0.1:0/tcp\"\nscheduler = \"rrr\"\n\
                \t[[service.backend]]\n\taddress = \"10.0.0.11:8000\"\n\tvtep = \"198.18.1.11\"\n\tweight = 70000\n";
    assert_words!(rendered(text));
    let lines: Vec<usize> =
        parse_text(text).unwrap_err().iter().map(|problem| problem.place.as_ref().unwrap().line).collect();
    assert_eq!(lines, [2, 3, 7, 11, 12, 15, 16]);
}

/// What the file alone shows to be impossible.
#[test]
fn what_can_never_serve() {
    let tun = "[[interface]]\nname = \"t0\"\ndriver = \"tun\"\n";
    let direct = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\ndirect = true\n\
                  [[service.backend]]\naddress = \"192.0.2.1\"\n\
                  [[service.backend]]\naddress = \"10.0.0.11\"\nvtep = \"198.18.1.11\"\n";
    let vips = |count: usize, protocol| {
        let listen = |n| format!("\"198.18.{}.{}:80/{protocol}\"", n / 250, n % 250 + 1);
        let listens: Vec<_> = (0..count).map(listen).collect();
        format!("[[service]]\nname = \"{protocol}\"\nlisten = [\n{}]\n", listens.join(",\n"))
            + "[[service.backend]]\naddress = \"192.0.2.1\"\n"
    };
    let swarm = "[swarm]\nvips = \"198.18.0.1\"\n";
    let back = |network, address| format!("[[swarm.overlay]]\nnetwork = \"{network}\"\naddress = \"{address}\"\n");
    let place = "[overlay]\nvtep = \"198.18.1.1\"\naddress = \"10.0.0.250/24\"\n";
    let two = back("back", "10.7.0.250/24") + &back("front", "10.7.0.251/16");
    let twice = back("back", "10.7.0.250/24") + &back("back", "10.8.0.250/24");
    assert_words!(cases(&[
        ("direct over TUN alone", format!("{tun}{OVERLAY}{direct}")),
        ("direct over TUN and AF_XDP", format!("{BASE}{tun}{OVERLAY}{direct}")),
        ("as many VIPs as there is room for", format!("{BASE}{}", vips(4096, "tcp"))),
        ("one VIP more", format!("{BASE}{}", vips(4097, "tcp"))),
        ("one protocol more", format!("{BASE}{}{}", vips(4096, "tcp"), vips(1, "udp"))),
        ("as many as you like over TUN", format!("{tun}{}", vips(4097, "tcp"))),
        ("a network twice", format!("{BASE}{place}{swarm}{twice}")),
        (
            "the main network again",
            format!("{BASE}{place}{swarm}network = \"back\"\n{}", back("back", "10.7.0.250/24"))
        ),
        ("subnets that meet", format!("{BASE}{place}{swarm}{two}")),
        ("the main subnet meets", format!("{BASE}{place}{swarm}{}", back("back", "10.0.0.251/24"))),
        ("no member, and no place", format!("{BASE}{swarm}member = \"no\"\n")),
        ("no member, and half a place", format!("{BASE}{swarm}member = \"no\"\n[overlay]\nvtep = \"198.18.1.1\"\n")),
        (
            "no member, and a place in another network",
            format!(
                "{BASE}{swarm}member = \"no\"\n[overlay]\nvtep = \"198.18.1.1\"\n{}",
                back("back", "10.7.0.250/24")
            ),
        ),
        ("no member, and a wrong place", format!("{BASE}{swarm}member = \"no\"\n[overlay]\nvtep = \"x\"\n")),
        ("no member", format!("{BASE}{place}{swarm}member = \"no\"\n")),
        ("TUN, and no place", format!("{tun}{swarm}")),
        ("TUN, and a place", format!("{tun}{place}{swarm}")),
        ("a member over TUN", format!("{tun}{place}{swarm}member = \"yes\"\n")),
        ("a member over AF_XDP", format!("{BASE}{swarm}member = \"yes\"\n")),
    ]));
}

/// What the help says is right: it does not lead to the next error.
#[test]
fn remedies_lead_on() {
    let swarm = |title: &'static str, line: &str| (title, format!("{BASE}[swarm]\nvips = \"198.18.0.1\"\n{line}\n"));
    assert_words!(cases(&[
        ("interfaces in a list", "interface = [\"eth0\", [1]]\n".to_owned()),
        service("backends in a list", "backend = [\"192.0.2.1:80\"]"),
        service("yes", "direct = yes"),
        service("True", "proxy_protocol = True"),
        service("off", "one_packet = off"),
        service("maybe", "passive = maybe"),
        service("a rate without a unit", "rate = 1000"),
        service("the same in quotes", "rate = \"1000\""),
        gateway("a port alone", "metrics = 9180"),
        gateway("a choice that is no switch", "shortcuts = true"),
        swarm("a choice that is a number", "member = 1"),
        swarm("a choice that is nearly a switch", "member = true"),
        service("a time without quotes", "timeout = 30s"),
        service("a longer one", "timeout = 1h30m"),
        service("listens in one text", "listen = \"198.18.0.1:80, 198.18.0.1:81/udp\""),
        service("half an hour", "timeout = \"1.5h\""),
        service("a week", "timeout = \"1w\""),
        service("a blank", "timeout = \"1 h 30 m\""),
        service("no unit behind", "timeout = \"1h 30\""),
        service("statuses in a list", "[service.check]\ntype = \"http\"\nstatus = [200, 204]"),
        swarm("IPv6 without brackets", "endpoints = \"tcp://2001:db8::1:2376\""),
        ("a name in UTF-8", "[[interface]]\nname = \"éééééééé\"\n".to_owned()),
    ]));
}

/// What is sent to a VIP comes back.
#[test]
fn the_gateway_as_its_own_backend() {
    let itself = |title, listen: &str, address: &str, more: &str| {
        let table = format!("[[service]]\nname = \"web\"\nlisten = {listen}\n{more}\n");
        let other = "[[service]]\nname = \"api\"\nlisten = \"198.18.0.1:8080\"\n";
        let plain = "[[service.backend]]\naddress = \"192.0.2.1\"\n";
        let backend = format!("[[service.backend]]\naddress = \"{address}\"\n");
        (title, format!("{BASE}{OVERLAY}{table}{backend}{other}{plain}"))
    };
    let web = "\"198.18.0.1:80\"";
    assert_words!(cases(&[
        itself("its own VIP", web, "198.18.0.1:80", ""),
        itself("its own VIP, and the port that was asked for", web, "198.18.0.1", ""),
        itself("another service", web, "198.18.0.1:8080", ""),
        itself("a range that meets", "\"198.18.0.2:8000-9000\"", "198.18.0.1", ""),
        itself("in IPv6", "\"[2001:db8::1]:80\"", "[2001:db8::1]:80", ""),
        itself("another port", web, "198.18.0.1:81", ""),
        itself("another protocol", "\"198.18.0.1:80/udp\"", "198.18.0.1:8080", ""),
        itself("another port that was asked for", "\"198.18.0.2:80\"", "198.18.0.1", ""),
        itself("by its MAC address", web, "198.18.0.1:80", "direct = true"),
    ]));
}

/// Each of these is wrong for itself: none waits for another to be put right.
#[test]
fn what_does_not_go_together_comes_at_once() {
    assert_words!(cases(&[
        service(
            "keys that miss another",
            "rate_burst = 5\nrate_per_source_burst = 5\nslow_start = \"30s\"\non_down = \"reset\"\n\
             syn_cookies = \"never\"\nhalf_open = 500\ntimeouts = { udp = \"5s\", udp_stream = \"5s\" }\n\
             persistence_prefix = 24\npersistence_group = \"x\""
        ),
        service("cookies in two ways", "direct = true\nsyn_cookies = \"always\"\nhalf_open = 500"),
        service(
            "one packet in two ways",
            "listen = \"198.18.0.1:53/udp\"\none_packet = true\nproxy_protocol = true\nscheduler = \"lc\""
        ),
        service(
            "direct in two ways",
            "listen = [\"198.18.0.1:80\", \"[2001:db8::1]:80\", \"[2001:db8::1]:82\"]\ndirect = true\n\
             [[service.backend]]\naddress = \"192.0.2.1:81\""
        ),
        service("a check in two ways", "listen = \"198.18.0.1:53-54/udp\"\n[service.check]\ntype = \"tcp\""),
    ]));
}

/// What rests on a key that could not be read may be right.
#[test]
fn no_error_follows_from_another() {
    assert_words!(cases(&[
        service("a rate", "rate = \"100\"\nrate_burst = 5"),
        service("persistence", "persistence = true\npersistence_prefix = 24\npersistence_group = \"x\""),
        service("a scheduler", "scheduler = \"wr\"\nslow_start = \"30s\""),
        service("a check", "on_down = \"reset\"\n[service.check]\ntype = \"htp\""),
        service("a line that is no TOML", "rate = 100/s\nrate_burst = 5"),
        service("an interval", "[service.check]\ntype = \"tcp\"\nport = 80\ninterval = \"10\"\ntimeout = \"5s\""),
        ("backends", format!("{BASE}[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\nbackend = [3]\n")),
        service("a listen", "listen = [\"198.18.0.1:80\", \"198.18.0.1:53/upd\"]\none_packet = true"),
        service("a listen with a check", "listen = \"198.18.0.1:x\"\n[service.check]\ntype = \"tcp\""),
    ]));
}

#[test]
fn columns_count_characters() {
    let problems = parse_text("[[interface]]\nname = \"eth0\"\nüü = 1\nmode = \"ä\"  # ö\n").unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.place.clone().unwrap()).collect();
    assert_eq!(places.iter().map(|place| (place.line, place.column, place.width)).max(), Some((4, 8, 3)));
}

#[test]
fn bytes_that_are_no_text_are_pointed_at() {
    let problems = parse("gw.toml", b"[gateway]\nap\xff = 1\n", CPUS).unwrap_err();
    let place = problems[0].place.clone().unwrap();
    assert_eq!((problems.len(), place.line, place.column), (1, 2, 3));
}
