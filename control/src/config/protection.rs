//! `allow`, `deny`, `rate`, `rate_per_source` and `syn_cookies`: who may open flows to a service, and how many.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use datapath::protection::{Guard, Prefix, Prefixes, Rate, SynCookies};
use wire::Protocol;

use super::node::Value;
use super::report::{Complaint, Fault, Report};
use super::section::{Found, Section, integer, text};
use super::{Listen, settings, value};

/// All keys.
pub const KEYS: [&str; 8] =
    ["allow", "deny", "rate", "rate_burst", "rate_per_source", "rate_per_source_burst", "syn_cookies", "half_open"];

const UNITS: &[(&str, Duration)] =
    &[("s", Duration::from_secs(1)), ("m", Duration::from_mins(1)), ("h", Duration::from_hours(1))];
const RATES: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Who comes seldom may still come a few times at once: a browser opens several connections.
const LEAST_BURST: u32 = 5;
/// The data path counts no debt that takes longer to pay.
const LONGEST_REFILL: Duration = Duration::from_hours(24);

/// No client has this address.
const NOBODY: Prefix = Prefix { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), bits: 32 };

/// When SYNs are answered by cookies.
pub const SYN_COOKIES: &[(&str, Cookies)] =
    &[("auto", Cookies::Auto), ("always", Cookies::Always), ("never", Cookies::Never)];
const HALF_OPEN: std::ops::RangeInclusive<i64> = 16..=1_000_000;
const DEFAULT_HALF_OPEN: u32 = 4_096;

/// When SYNs are answered by cookies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cookies {
    /// While there are too many half-open flows.
    #[default]
    Auto,
    /// Every SYN.
    Always,
    /// None.
    Never,
}

/// So many new flows in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// So many …
    pub count: u32,
    /// … in each of these.
    pub per: Duration,
}

/// What a service says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    /// Who may open flows; empty: everybody.
    pub allow: Vec<Prefix>,
    /// Who may not.
    pub deny: Vec<Prefix>,
    /// New flows of all sources together.
    pub rate: Option<RateLimit>,
    /// How many of them at once.
    pub rate_burst: Option<u32>,
    /// New flows of each source.
    pub rate_per_source: Option<RateLimit>,
    /// How many of them at once.
    pub rate_per_source_burst: Option<u32>,
    /// When SYNs are answered by cookies.
    pub syn_cookies: Cookies,
    /// How many half-open flows are too many.
    pub half_open: Option<u32>,
}

/// What shall be other: `None` leaves it, `Some(None)` takes it away, as an empty list does.
#[expect(clippy::option_option, reason = "None leaves it as it is, Some(None) takes it away")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProtectionChange {
    /// See [`Protection::allow`].
    pub allow: Option<Vec<Prefix>>,
    /// See [`Protection::deny`].
    pub deny: Option<Vec<Prefix>>,
    /// See [`Protection::rate`].
    pub rate: Option<Option<RateLimit>>,
    /// See [`Protection::rate_burst`].
    pub rate_burst: Option<Option<u32>>,
    /// See [`Protection::rate_per_source`].
    pub rate_per_source: Option<Option<RateLimit>>,
    /// See [`Protection::rate_per_source_burst`].
    pub rate_per_source_burst: Option<Option<u32>>,
    /// See [`Protection::syn_cookies`].
    pub syn_cookies: Option<Cookies>,
    /// See [`Protection::half_open`].
    pub half_open: Option<Option<u32>>,
}

impl ProtectionChange {
    /// With the change. Without a rate, its burst does not stay.
    pub fn apply(&self, to: Protection) -> Protection {
        let burst = |rate: &Option<Option<_>>, old| if *rate == Some(None) { None } else { old };
        Protection {
            rate_burst: self.rate_burst.unwrap_or(burst(&self.rate, to.rate_burst)),
            rate_per_source_burst: self
                .rate_per_source_burst
                .unwrap_or(burst(&self.rate_per_source, to.rate_per_source_burst)),
            allow: self.allow.clone().unwrap_or(to.allow),
            deny: self.deny.clone().unwrap_or(to.deny),
            rate: self.rate.unwrap_or(to.rate),
            rate_per_source: self.rate_per_source.unwrap_or(to.rate_per_source),
            syn_cookies: self.syn_cookies.unwrap_or(to.syn_cookies),
            half_open: self.half_open.unwrap_or(to.half_open),
        }
    }
}

impl Protection {
    /// How many new flows at once: what a second brings, unless it is said.
    pub fn burst(&self) -> Option<u32> {
        self.rate.map(|rate| self.rate_burst.unwrap_or(rate.default_burst()))
    }

    /// How many new flows of a source at once.
    pub fn burst_per_source(&self) -> Option<u32> {
        self.rate_per_source.map(|rate| self.rate_per_source_burst.unwrap_or(rate.default_burst()))
    }

    /// How many half-open flows are too many; `None` where nobody counts.
    pub fn half_open(&self) -> Option<u32> {
        (self.syn_cookies == Cookies::Auto).then(|| self.half_open.unwrap_or(DEFAULT_HALF_OPEN))
    }

    /// As the API shows it: null also where `half_open` can't be said, so that what is shown can be sent.
    pub fn shown_half_open(&self, direct: bool, listens: &[Listen]) -> Option<u32> {
        self.half_open().filter(|_| !direct && !has_no_tcp(listens))
    }

    /// All that is wrong with it in a service that listens there.
    pub fn faults(&self, direct: bool, listens: &[Listen]) -> Vec<Fault> {
        let mut faults = self.rate_faults();
        faults.extend(self.needless_half_open());
        faults.extend(self.cookie_fault(direct, listens));
        faults
    }

    /// The first of them, for callers that want one.
    pub fn fault(&self, direct: bool, listens: &[Listen]) -> Option<Fault> {
        self.faults(direct, listens).into_iter().next()
    }

    fn needless_half_open(&self) -> Option<Fault> {
        let [.., half_open] = KEYS;
        let needless = self.half_open.is_some() && self.syn_cookies != Cookies::Auto;
        let message = "`half_open` counts only for `syn_cookies = \"auto\"`";
        needless.then(|| (half_open, Complaint::hinted(message, "leave one of the two out")))
    }

    fn cookie_fault(&self, direct: bool, listens: &[Listen]) -> Option<Fault> {
        let [.., cookies, half_open] = KEYS;
        let key = match (self.syn_cookies, self.half_open) {
            (Cookies::Always, _) => cookies,
            (Cookies::Auto, Some(_)) => half_open,
            _ => return None,
        };
        let complaint = if direct {
            let hint = "the backend's answer to a SYN goes around the gateway: leave it out, or `direct`";
            Complaint::hinted(format!("`{key}` means nothing to a direct service"), hint)
        } else if has_no_tcp(listens) {
            let hint = "only TCP has SYNs: `rate_per_source` and `rate` hold for UDP, too";
            Complaint::hinted(format!("`{key}` means nothing to a service over UDP"), hint)
        } else {
            return None;
        };
        Some((key, complaint))
    }

    fn rate_faults(&self) -> Vec<Fault> {
        let [_, _, rate, rate_burst, per_source, per_source_burst, ..] = KEYS;
        let pairs = [
            (rate, self.rate, rate_burst, self.rate_burst),
            (per_source, self.rate_per_source, per_source_burst, self.rate_per_source_burst),
        ];
        let fault = |(key, rate, burst_key, burst): (_, Option<RateLimit>, _, Option<u32>)| {
            let burst = burst?;
            let complaint = match rate {
                None => {
                    let hint = format!("say how many new flows there may be, e.g. `{key} = \"100/s\"`");
                    Complaint::hinted(format!("`{burst_key}` without `{key}` means nothing"), hint)
                }
                // Without a burst of its own no rate is too slow.
                Some(rate) if rate.per / rate.count * burst > LONGEST_REFILL => {
                    let message = format!("at {}, a burst of {burst} is earned in more than a day", rate.show());
                    Complaint::hinted(message, "give a higher rate or a smaller burst")
                }
                Some(_) => return None,
            };
            Some((burst_key, complaint))
        };
        pairs.into_iter().filter_map(fault).collect()
    }

    /// Sets a key as a label says it. What can't be read leaves all as it is; but where nobody knows who is allowed, nobody
    /// is: the service was not meant for all.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), Complaint> {
        match key {
            "allow" => {
                self.allow = vec![NOBODY];
                self.allow = prefix_list(text)?;
            }
            "deny" => self.deny = prefix_list(text)?,
            "rate" => self.rate = Some(rate_limit(text)?),
            "rate_burst" => self.rate_burst = Some(burst(text)?),
            "rate_per_source" => self.rate_per_source = Some(rate_limit(text)?),
            "syn_cookies" => self.syn_cookies = value::word("choice", text, SYN_COOKIES)?,
            "half_open" => self.half_open = Some(half_open(text)?),
            _ => self.rate_per_source_burst = Some(burst(text)?),
        }
        Ok(())
    }

    /// Makes a key as if it had not been said; the lists stay, for they say who is kept out.
    pub fn forget(&mut self, key: &str) {
        match key {
            "rate" => self.rate = None,
            "rate_burst" => self.rate_burst = None,
            "rate_per_source" => self.rate_per_source = None,
            "rate_per_source_burst" => self.rate_per_source_burst = None,
            "syn_cookies" => self.syn_cookies = Cookies::default(),
            "half_open" => self.half_open = None,
            _ => {}
        }
    }

    /// When SYNs are answered by cookies. Nobody answers for a direct service's backends, which answer around us.
    pub fn syn_cookies(&self, direct: bool) -> SynCookies {
        match (self.syn_cookies, self.half_open()) {
            _ if direct => SynCookies::Never,
            (Cookies::Always, _) => SynCookies::Always,
            (_, Some(half_open)) => SynCookies::Above { half_open },
            _ => SynCookies::Never,
        }
    }

    /// As workers need it, with what lasts.
    pub fn compile(&self, direct: bool, guard: Arc<Guard>) -> datapath::protection::Protection {
        let rate = |rate: Option<RateLimit>, burst| Some(rate?.compile(burst?));
        datapath::protection::Protection {
            allow: Prefixes::new(&self.allow),
            deny: Prefixes::new(&self.deny),
            rate: rate(self.rate, self.burst()),
            rate_per_source: rate(self.rate_per_source, self.burst_per_source()),
            syn_cookies: self.syn_cookies(direct),
            guard,
        }
    }
}

impl Cookies {
    /// As it is written in the config.
    pub fn show(self) -> &'static str {
        SYN_COOKIES.iter().find(|(_, cookies)| *cookies == self).map_or("auto", |(name, _)| name)
    }
}

impl RateLimit {
    fn default_burst(self) -> u32 {
        (self.count / self.per.as_secs().max(1) as u32).max(LEAST_BURST)
    }

    fn compile(self, burst: u32) -> Rate {
        Rate::new(self.count, self.per, burst)
    }

    /// As it is written in the config.
    pub fn show(self) -> String {
        let unit = UNITS.iter().find(|(_, per)| *per == self.per).map_or("s", |(name, _)| name);
        format!("{}/{unit}", self.count)
    }
}

/// Where a service listens for UDP alone, there are no SYNs.
fn has_no_tcp(listens: &[Listen]) -> bool {
    !listens.is_empty() && listens.iter().all(|listen| listen.protocol == Protocol::Udp)
}

/// Reads the keys out of a service's table.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> ProtectionChange {
    let [allow, deny, rate, rate_burst, per_source, per_source_burst, cookies, half_open] = KEYS;
    let syn_cookies = settings::or_default(section, cookies, Cookies::default(), report, settings::choice(SYN_COOKIES));
    let half_open = section.nullable(half_open, report, |found, report| {
        integer(found, HALF_OPEN, report).map(|half_open| half_open.value)
    });
    let mut limit =
        |key| section.nullable(key, report, |found, report| text(found, report, rate_limit).map(|limit| limit.value));
    let (rate, rate_per_source) = (limit(rate), limit(per_source));
    let mut burst =
        |key| section.nullable(key, report, |found, report| integer(found, RATES, report).map(|burst| burst.value));
    let (rate_burst, rate_per_source_burst) = (burst(rate_burst), burst(per_source_burst));
    refuse_nobody(section, allow, report);
    ProtectionChange {
        allow: prefixes(section, allow, report),
        deny: prefixes(section, deny, report),
        rate,
        rate_burst,
        rate_per_source,
        rate_per_source_burst,
        syn_cookies,
        half_open,
    }
}

/// A list without anyone reads as if nobody were allowed, but a service without a list is open to everybody: whoever writes it
/// into a file must say which. As JSON it is what a service without a list shows of itself.
fn refuse_nobody(section: &mut Section<'_>, key: &'static str, report: &mut Report) {
    let is_json = |found: Found<'_>| found.at.span.is_empty();
    if section.find(key).is_none_or(is_json) {
        return;
    }
    let hint = "leave it out to allow everybody; `deny` of 0.0.0.0/0 and ::/0 keeps everybody out";
    section.refuse_empty(key, Complaint::hinted(format!("`{key}` is empty: who may come?"), hint), report);
}

fn prefixes(section: &mut Section<'_>, key: &'static str, report: &mut Report) -> Option<Vec<Prefix>> {
    let is_null = matches!(section.find(key)?.value, Value::Null);
    if is_null {
        return Some(Vec::new());
    }
    Some(section.texts(key, report, prefix).into_iter().map(|found| found.value).collect())
}

/// `198.18.0.0/16`, `2001:db8::/32`, or an address alone.
pub fn prefix(text: &str) -> Result<Prefix, Complaint> {
    let wrong = || {
        let message = format!("`{text}` is not a prefix of addresses");
        Complaint::hinted(message, "e.g. 198.18.0.0/16, 198.18.0.7 or 2001:db8::/32")
    };
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
    if bits > longest {
        return Err(wrong());
    }
    if let Some(written) = in_ipv4_form(address, bits) {
        let message = format!("`{text}` is IPv4 in IPv6's form, which no packet has");
        return Err(Complaint::hinted(message, format!("write {written}")));
    }
    let network = network(address, bits);
    if network != address {
        let message = format!("`{text}` has bits behind its length");
        return Err(Complaint::hinted(message, format!("write {network}/{bits}")));
    }
    Ok(Prefix { address, bits })
}

/// How a prefix of IPv4 addresses in IPv6's form is rightly written.
fn in_ipv4_form(address: IpAddr, bits: u8) -> Option<String> {
    let IpAddr::V6(six) = address else { return None };
    let (four, bits) = (IpAddr::V4(six.to_ipv4_mapped()?), bits.checked_sub(96)?);
    Some(Prefix { address: network(four, bits), bits }.to_string())
}

fn network(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !u32::MAX.checked_shr(bits).unwrap_or(0)).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::MAX.checked_shr(bits).unwrap_or(0)).into()),
    }
}

/// `100/s`, `600/m`, `10/h`.
pub fn rate_limit(text: &str) -> Result<RateLimit, Complaint> {
    let wrong = || {
        let is_bare = text.parse().is_ok_and(|number| RATES.contains(&number));
        let example = if is_bare { text } else { "100" };
        let hint = format!("a number from 1 to 1000000 and `/s`, `/m` or `/h`, e.g. \"{example}/s\"");
        Complaint::hinted(format!("`{text}` is not a rate"), hint)
    };
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let per = value::word("unit", unit.trim(), UNITS).map_err(|_| wrong())?;
    let count: u32 = count.trim().parse().map_err(|_| wrong())?;
    Some(RateLimit { count, per }).filter(|limit| RATES.contains(&i64::from(limit.count))).ok_or_else(wrong)
}

/// So many at once, as text.
pub fn burst(text: &str) -> Result<u32, Complaint> {
    let number = text.parse().ok().filter(|number| RATES.contains(number)).and_then(|number| number.try_into().ok());
    number.ok_or_else(|| Complaint::hinted(format!("`{text}` can't be a burst"), "from 1 to 1000000"))
}

/// So many half-open flows, as text.
pub fn half_open(text: &str) -> Result<u32, Complaint> {
    let number = text.parse().ok().filter(|number| HALF_OPEN.contains(number));
    let number = number.and_then(|number| number.try_into().ok());
    let hint = format!("from {} to {}", HALF_OPEN.start(), HALF_OPEN.end());
    number.ok_or_else(|| Complaint::hinted(format!("`{text}` can't be a number of half-open flows"), hint))
}

/// A list of prefixes with commas, as in labels and on the command line.
pub fn prefix_list(text: &str) -> Result<Vec<Prefix>, Complaint> {
    text.split(',').map(|item| prefix(item.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_both_families() {
        for text in ["198.18.0.0/16", "0.0.0.0/0", "10.0.0.7/32", "2001:db8::/32", "::/0", "2001:db8::7/128"] {
            assert_eq!(prefix(text).unwrap().to_string(), text);
        }
        assert_eq!(prefix("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        let hint = |text| prefix(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("198.18.0.7/16"), "write 198.18.0.0/16");
        assert_eq!(hint("2001:db8::7/64"), "write 2001:db8::/64");
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "2001:db8::/129", "example.org", "10.0.0.0/-1"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_and_their_bursts() {
        let with = |text| Protection { rate: Some(rate_limit(text).unwrap()), ..Protection::default() };
        for (text, burst) in [("100/s", 100), ("1/s", 5), ("6000/m", 100), ("10/h", 5), ("1000000/s", 1_000_000)] {
            let protection = with(text);
            assert_eq!((protection.rate.unwrap().show().as_str(), protection.burst()), (text, Some(burst)));
            assert!(protection.fault(false, &[]).is_none(), "{text}");
        }
        for wrong in ["", "100", "100/d", "0/s", "1000001/s", "-1/s", "1.5/s", "/s"] {
            assert!(rate_limit(wrong).is_err(), "{wrong}");
        }
        let slow = Protection { rate_burst: Some(25), ..with("1/h") };
        assert_eq!(slow.fault(false, &[]).unwrap().0, "rate_burst");
        let alone = Protection { rate_per_source_burst: Some(25), ..Protection::default() };
        assert_eq!(alone.fault(false, &[]).unwrap().0, "rate_per_source_burst");
    }
}
