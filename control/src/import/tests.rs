//! What the tutorials' configs come to, and that nothing that is fed in does harm.

use proptest::prelude::*;

use super::{Format, Imported, import, recognise};
use crate::config::parse;

const SAMPLES: [(&str, Format); 4] = [
    (include_str!("samples/ingress.haproxy.cfg"), Format::Haproxy),
    (include_str!("samples/site.haproxy.cfg"), Format::Haproxy),
    (include_str!("samples/tutorial.keepalived.conf"), Format::Keepalived),
    (include_str!("samples/saved.ipvsadm"), Format::Ipvsadm),
];

/// What is written is a config of so many services, or nothing.
pub fn passes_check(imported: &Imported) {
    if imported.services > 0 {
        let loaded = parse("imported", imported.config.as_bytes(), &[0]);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:?}\n{}", imported.config));
        assert_eq!(loaded.config.services.len(), imported.services);
    } else {
        assert_eq!(imported.config, "");
    }
}

/// The config, and below it the notes.
fn words((text, format): (&str, Format)) -> String {
    assert_eq!(recognise(text), Some(format));
    let imported = import(text, format, &["203.0.113.1".parse().unwrap()]);
    passes_check(&imported);
    let notes = imported.notes.iter().map(|note| format!("{}: `{}`: {}\n", note.line, note.text, note.why));
    format!("{}\n---\n{}", imported.config, notes.collect::<String>())
}

/// An input of one service, which must come out as a config of one.
pub fn import_one(text: &str, format: Format) -> Imported {
    let imported = import(text, format, &[]);
    passes_check(&imported);
    assert_eq!(imported.services, 1, "{:?}", imported.notes);
    imported
}

/// Whether this stands in the config as a line of its own, the notes aside.
pub fn says(imported: &Imported, line: &str) -> bool {
    imported.config.lines().any(|found| found == line)
}

/// Whether something with these words is said of a line.
pub fn noted(imported: &Imported, line: usize, words: &str) -> bool {
    imported.notes.iter().any(|note| note.line == line && note.why.contains(words))
}

#[test]
fn haproxy_ingress() {
    assert_words!(words(SAMPLES[0]));
}

#[test]
fn haproxy_site() {
    assert_words!(words(SAMPLES[1]));
}

#[test]
fn keepalived_tutorial() {
    assert_words!(words(SAMPLES[2]));
}

#[test]
fn ipvsadm_saved() {
    assert_words!(words(SAMPLES[3]));
}

/// All servers of a section or none; version 1 is another protocol.
#[test]
fn proxy_headers_are_carried_over_where_all_servers_want_them() {
    let read = |servers: &str| {
        let imported = import(&format!("listen x\nbind 192.0.2.1:80\n{servers}\n"), Format::Haproxy, &[]);
        passes_check(&imported);
        let notes = imported.notes.iter().filter(|note| note.why.contains("PROXY"));
        let notes = notes.map(|note| note.line).collect::<Vec<_>>();
        (imported.config.contains("\nproxy_protocol = true\n"), notes)
    };
    let (a, b) = ("server a 192.0.2.9:80", "server b 192.0.2.10:80");
    assert_eq!(read(&format!("{a} send-proxy-v2 check\n{b} send-proxy-v2 check check-send-proxy")), (true, vec![]));
    assert_eq!(read(&format!("default-server send-proxy-v2\n{a}\n{b}")), (true, vec![]));
    assert_eq!(read(&format!("{a} send-proxy-v2\n{b}")), (false, vec![3]));
    assert_eq!(read(&format!("{a} send-proxy\n{b}")), (false, vec![3]));
    assert_eq!(read(&format!("{a}\n{b}")), (false, vec![]));
}

#[test]
fn ipv6_is_carried_over() {
    let import = |text, format, vips: &[&str]| {
        let vips: Vec<_> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        let imported = import(text, format, &vips);
        passes_check(&imported);
        let notes = imported.notes.iter().map(|note| format!("{}: {}\n", note.line, note.why));
        format!("{}---\n{}\n", imported.config, notes.collect::<String>())
    };
    let haproxy = "listen x\nbind *:80\nbind [::]:80 v6only\nbind ipv6@2001:db8::10:8080\nbind :::443 v4v6\n\
                   stick-table type ipv6 size 1k expire 5m\nstick on src\n\
                   server a ipv6@[2001:db8:1::11]:8080\nserver b 2001:db8:1::12:8080\nserver c [2001:db8:1::13]\n";
    let keepalived = "virtual_server 2001:db8::1 80 {\n lb_kind DR\n persistence_timeout 50\n persistence_granularity 64\n \
                      real_server 2001:db8:1::11 80 {\n }\n real_server 2001:db8:1::12 0 {\n }\n}\n";
    let ipvsadm = "-A -u [2001:db8::1]:53 -s rr -p 300\n-a -u [2001:db8::1]:53 -r [2001:db8:1::11]:53 -m\n";
    assert_words!(
        [
            import(haproxy, Format::Haproxy, &["203.0.113.1", "2001:db8::1"]),
            import(haproxy, Format::Haproxy, &[]),
            import(keepalived, Format::Keepalived, &[]),
            import(ipvsadm, Format::Ipvsadm, &[]),
        ]
        .concat()
    );
}

#[test]
fn any_address_needs_a_vip() {
    let imported = import("listen x\nbind :80\nserver a 192.0.2.9:80\n", Format::Haproxy, &[]);
    passes_check(&imported);
    assert!(imported.config.contains("listen = \"192.0.2.1:80/tcp\""), "{}", imported.config);
    assert!(imported.notes.iter().any(|note| note.line == 2 && note.why.contains("--vip")), "{:?}", imported.notes);
}

#[test]
fn one_vip_of_a_family_counts() {
    let vips: Vec<_> = ["198.18.0.1", "2001:db8::1", "198.18.0.2"].iter().map(|vip| vip.parse().unwrap()).collect();
    let imported = import("listen x\nbind :80\nserver a 192.0.2.9:80\n", Format::Haproxy, &vips);
    assert!(imported.config.contains("listen = \"198.18.0.1:80/tcp\""), "{}", imported.config);
    let said: Vec<&str> =
        imported.notes.iter().map(|note| note.why.as_str()).filter(|why| why.contains("--vip")).collect();
    assert_eq!(said, ["--vip 198.18.0.2 was left out: one address of each family stands for any"]);
}

#[test]
fn one_packet_scheduling_is_carried_over_where_nothing_counts_connections() {
    let read = |scheduler: &str| {
        let text = format!("-A -u 192.0.2.1:53 -s {scheduler} -o\n-a -u 192.0.2.1:53 -r 10.0.0.1:53 -m\n");
        let imported = import(&text, Format::Ipvsadm, &[]);
        passes_check(&imported);
        assert_eq!(imported.services, 1);
        (imported.config.contains("\none_packet = true\n"), imported.notes.iter().any(|note| note.line == 1))
    };
    assert_eq!((read("rr"), read("wlc")), ((true, false), (false, true)));
}

#[test]
fn notes_hold_nothing_that_terminals_obey() {
    let clear = "\u{1b}[2J\u{9b}2J\u{7}";
    let lines =
        format!("server a 10.0.0.1{clear}:80 check {clear}\noption httpchk {clear} {clear} HTTP/1.1\\r\\n{clear}: x");
    let imported = import(&format!("listen x\nbind :80\n{lines}\nserver b 10.0.0.2:80\n"), Format::Haproxy, &[]);
    assert_eq!(imported.services, 1);
    assert!(imported.notes.len() > 5, "{:?}", imported.notes);
    let texts = imported.notes.iter().flat_map(|note| [&note.text, &note.why]);
    assert!(texts.clone().any(|text| text.contains('\u{fffd}')));
    for text in texts {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn services_that_cannot_stand_together_do_not_spoil_the_rest() {
    let text = "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m\n\
                -A -t 192.0.2.1:80 -s wlc\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m\n\
                -A -t 127.0.0.1:80\n-a -t 127.0.0.1:80 -r 10.0.0.2:80 -m\n-A -t 192.0.2.2:80\n";
    let imported = import(text, Format::Ipvsadm, &[]);
    passes_check(&imported);
    assert_eq!(imported.services, 1);
    let lines: Vec<usize> = imported.notes.iter().map(|note| note.line).collect();
    assert!([3, 5, 7].iter().all(|line| lines.contains(line)), "{:?}", imported.notes);
}

/// As in IPVS: port 0 is what comes to no port that a service names, whichever stands first.
#[test]
fn port_0_is_what_the_specific_services_leave() {
    let catch_all = "-A -t 192.0.2.1:0 -s rr -p 600\n-a -t 192.0.2.1:0 -r 10.0.0.1:0 -m\n";
    let specific = "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m\n\
                    -A -t 192.0.2.1:65535 -s rr\n-a -t 192.0.2.1:65535 -r 10.0.0.2:80 -m\n\
                    -A -u 192.0.2.1:53 -s rr\n-a -u 192.0.2.1:53 -r 10.0.0.2:53 -m\n\
                    -A -t 192.0.2.2:22 -s rr\n-a -t 192.0.2.2:22 -r 10.0.0.2:22 -m\n";
    let remaining = "listen = [\"192.0.2.1:1-79/tcp\", \"192.0.2.1:81-65534/tcp\"]";
    for text in [format!("{catch_all}{specific}"), format!("{specific}{catch_all}")] {
        let imported = import(&text, Format::Ipvsadm, &[]);
        passes_check(&imported);
        for line in [remaining, "listen = \"192.0.2.1:80/tcp\"", "address = \"10.0.0.1\""] {
            assert!(says(&imported, line), "{line}\n{}\n{:?}", imported.config, imported.notes);
        }
        assert!(imported.notes.iter().all(|note| note.line == 0), "{:?}", imported.notes);
    }
    let block = |port: &str, real: &str| {
        format!("virtual_server 192.0.2.1 {port} {{\n real_server {real} {port} {{\n }}\n}}\n")
    };
    let text = [block("0", "10.0.0.1"), block("80", "10.0.0.2"), block("0", "10.0.0.3")].concat();
    let imported = import(&text, Format::Keepalived, &[]);
    passes_check(&imported);
    assert!(says(&imported, "listen = [\"192.0.2.1:1-79/tcp\", \"192.0.2.1:81-65535/tcp\"]"), "{}", imported.config);
    assert_eq!(imported.services, 2);
    assert!(noted(&imported, 9, "`192.0.2.1:1-65535/tcp` is taken by what stands above"), "{:?}", imported.notes);
}

#[test]
fn what_is_nobodys_is_not_understood() {
    for text in ["", "server { listen 80; }", "[gateway]\ncpus = [0]\n", "\u{0}\u{ff}"] {
        assert_eq!(recognise(text), None, "{text}");
    }
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Haproxy), Just(Format::Keepalived), Just(Format::Ipvsadm)]
}

proptest! {
    #[test]
    fn no_text_does_harm(text in "\\PC{0,300}", format in any_format()) {
        passes_check(&import(&text, format, &[]));
    }

    /// Lines of real configs in any order, cut anywhere, with anything put in.
    #[test]
    fn mangled_configs_do_no_harm(
        sample in 0..SAMPLES.len(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, "\\PC{0,6}|[0-9:.*-]{1,6}| "), 1..40),
        format in any_format(),
    ) {
        let lines: Vec<&str> = SAMPLES[sample].0.lines().collect();
        let mangled = picks.iter().map(|(index, at, put)| {
            let line = index.get(&lines);
            let cut = line.char_indices().nth(*at).map_or(line.len(), |(at, _)| at);
            format!("{}{put}{}\n", &line[..cut], line[cut..].get(1..).unwrap_or_default())
        });
        passes_check(&import(&mangled.collect::<String>(), format, &[]));
    }

    /// A slip of the finger in a whole config.
    #[test]
    fn one_slip_does_no_harm(sample in 0..SAMPLES.len(), at in any::<prop::sample::Index>(), put in "\\PC{0,8}") {
        let (text, format) = SAMPLES[sample];
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..=at, put.chars());
        passes_check(&import(&chars.into_iter().collect::<String>(), format, &[]));
    }
}
