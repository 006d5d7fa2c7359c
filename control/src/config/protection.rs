//! `allow`, `deny`, `rate` and `rate_per_source`: who may open flows to a service, and how many.

use std::net::IpAddr;
use std::time::Duration;

use datapath::protection::{Prefix, Prefixes, Rate};

use super::node::Value;
use super::report::{Complaint, Report};
use super::section::{Section, integer, text};
use super::value;

/// All keys.
pub const KEYS: [&str; 6] = ["allow", "deny", "rate", "rate_burst", "rate_per_source", "rate_per_source_burst"];

const UNITS: &[(&str, Duration)] =
    &[("s", Duration::from_secs(1)), ("m", Duration::from_mins(1)), ("h", Duration::from_hours(1))];
const RATES: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Who comes seldom may still come a few times at once: a browser opens several connections.
const LEAST_BURST: u32 = 5;
/// The data path counts no debt that takes longer to pay.
const LONGEST_REFILL: Duration = Duration::from_hours(24);

/// No client has this address.
const NOBODY: Prefix = Prefix { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), bits: 32 };

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

    /// What is wrong with it: the key at fault, and the complaint.
    pub fn fault(&self) -> Option<(&'static str, Complaint)> {
        let [_, _, rate, rate_burst, per_source, per_source_burst] = KEYS;
        let pairs = [
            (rate, self.rate, rate_burst, self.rate_burst, self.burst()),
            (per_source, self.rate_per_source, per_source_burst, self.rate_per_source_burst, self.burst_per_source()),
        ];
        pairs.into_iter().find_map(|(key, rate, burst_key, given, burst)| match (rate, given) {
            (None, Some(_)) => {
                let hint = format!("say how many new flows there may be, e.g. `{key} = \"100/s\"`");
                Some((burst_key, Complaint::hinted(format!("`{burst_key}` without `{key}` means nothing"), hint)))
            }
            (Some(rate), _) if rate.per / rate.count * burst.unwrap_or(1) > LONGEST_REFILL => {
                let message = format!("at {}, a burst of {} is earned in more than a day", rate.show(), burst?);
                Some((key, Complaint::hinted(message, "give a higher rate or a smaller burst")))
            }
            _ => None,
        })
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
            _ => self.rate_per_source_burst = Some(burst(text)?),
        }
        Ok(())
    }

    /// Takes away all rates, keeps the lists.
    pub fn forget_rates(&mut self) {
        let (allow, deny) = (std::mem::take(&mut self.allow), std::mem::take(&mut self.deny));
        *self = Protection { allow, deny, ..Protection::default() };
    }

    /// As workers need it, but for what lasts.
    pub fn compile(&self) -> datapath::protection::Protection {
        let rate = |rate: Option<RateLimit>, burst| Some(rate?.compile(burst?));
        datapath::protection::Protection {
            allow: Prefixes::new(&self.allow),
            deny: Prefixes::new(&self.deny),
            rate: rate(self.rate, self.burst()),
            rate_per_source: rate(self.rate_per_source, self.burst_per_source()),
            ..datapath::protection::Protection::default()
        }
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

/// Reads the keys out of a service's table.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> ProtectionChange {
    let [allow, deny, rate, rate_burst, per_source, per_source_burst] = KEYS;
    let mut limit =
        |key| section.nullable(key, report, |found, report| text(found, report, rate_limit).map(|limit| limit.value));
    let (rate, rate_per_source) = (limit(rate), limit(per_source));
    let mut burst =
        |key| section.nullable(key, report, |found, report| integer(found, RATES, report).map(|burst| burst.value));
    let (rate_burst, rate_per_source_burst) = (burst(rate_burst), burst(per_source_burst));
    ProtectionChange {
        allow: prefixes(section, allow, report),
        deny: prefixes(section, deny, report),
        rate,
        rate_burst,
        rate_per_source,
        rate_per_source_burst,
    }
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
    let network = network(address, bits);
    if network != address {
        let message = format!("`{text}` has bits behind its length");
        return Err(Complaint::hinted(message, format!("write {network}/{bits}")));
    }
    Ok(Prefix { address, bits })
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
        let message = format!("`{text}` is not a rate");
        Complaint::hinted(message, "a number from 1 to 1000000 and `/s`, `/m` or `/h`, e.g. \"100/s\"")
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
            assert!(protection.fault().is_none(), "{text}");
        }
        for wrong in ["", "100", "100/d", "0/s", "1000001/s", "-1/s", "1.5/s", "/s"] {
            assert!(rate_limit(wrong).is_err(), "{wrong}");
        }
        let slow = Protection { rate_burst: Some(25), ..with("1/h") };
        assert_eq!(slow.fault().unwrap().0, "rate");
        let alone = Protection { rate_per_source_burst: Some(25), ..Protection::default() };
        assert_eq!(alone.fault().unwrap().0, "rate_per_source_burst");
    }
}
