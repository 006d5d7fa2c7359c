//! Policy rules that lead the answers of plain backends, which come to an address of this machine, to the TUN device.
//!
//! The kernel looks into the table `local` first and would take them (and, knowing no such connection, refuse them). So
//! that table's rule steps behind ours; each of ours names one backend's address and port and our SNAT address and
//! ports, and nothing else goes another way than before, but for fragments. See `docs/decisions/007-answers-of-plain-backends-over-tun.md`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use netlink_packet_route::IpProtocol;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::RouteMessageBuilder;

use super::{Family, Kernel, KernelError};

/// Ours come before the table `local`, which is moved from 0.
const ANSWERS_PRIORITY: u32 = 17;
const WITH_PORTS_PRIORITY: u32 = 18;
const FRAGMENTS_PRIORITY: u32 = 19;
const LOCAL_PRIORITY: u32 = 20;
const LOCAL_TABLE: u32 = 255;
/// As many as a rule can name. Packets in which the kernel sees no ports have none of these.
const EVERY_PORT: (u16, u16) = (1, 65_534);
/// Tables of ours: this, and the link's index in the lower half.
const TABLES: u32 = 0x5347_0000;

/// One rule for packets of a plain backend to an address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyRule {
    /// Where they come from.
    pub backend: IpAddr,
    /// Where they come to.
    pub snat: IpAddr,
    /// TCP or UDP, by number.
    pub protocol: u8,
    /// Which of them.
    pub part: ReplyPart,
}

/// Which packets between two addresses a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyPart {
    /// From the backend's port (0: any) to our SNAT ports: to the TUN device.
    Answers {
        /// The backend's port.
        port: u16,
        /// Our ports.
        ports: (u16, u16),
    },
    /// Everything else that has ports: stays with the kernel.
    WithPorts,
    /// What is left then are fragments, in which the kernel sees no ports: to the TUN device.
    Fragments,
}

fn table_of(link: u32) -> u32 {
    TABLES | (link & 0xffff)
}

impl Kernel {
    /// What all rules need: to come before the table `local`, and a table of their own, which vanishes when the link
    /// goes down.
    pub async fn prepare_reply_rules(&self, link: u32, family: Family) -> Result<(), KernelError> {
        self.move_local_rule(family, 0, LOCAL_PRIORITY).await?;
        self.restore_local_rule(family).await?;
        self.add_table(link, family).await
    }

    /// Adds and removes rules until they are those of `wanted`; `present` holds what this process added before.
    pub async fn set_reply_rules(
        &self,
        link: u32,
        present: &mut BTreeSet<ReplyRule>,
        wanted: &BTreeSet<ReplyRule>,
    ) -> Result<(), KernelError> {
        for rule in wanted.difference(&present.clone()) {
            self.add_rule(by_kernel(rule.message(link))).await?;
            present.insert(*rule);
        }
        // Last to first: a rule for fragments without the one in front of it would take all that the backend sends.
        let gone: Vec<_> = present.difference(wanted).copied().collect();
        for rule in gone.iter().rev() {
            self.remove_rule(rule.message(link)).await?;
            present.remove(rule);
        }
        Ok(())
    }

    /// Forgets those of `present` that are to be added again, since somebody has taken some away.
    pub async fn doubt_reply_rules(
        &self,
        link: u32,
        present: &mut BTreeSet<ReplyRule>,
        wanted: &BTreeSet<ReplyRule>,
    ) -> Result<(), KernelError> {
        for family in Family::ALL {
            let leads_to_link =
                |rule: &&ReplyRule| Family::of(rule.backend) == family && rule.part != ReplyPart::WithPorts;
            let expected = present.iter().filter(leads_to_link).count();
            if expected == 0 {
                continue;
            }
            let found = self.rules(family).await?.iter().filter(|rule| table(rule) == table_of(link)).count();
            if found < expected {
                tracing::warn!("somebody has removed policy rules for TUN: they are put back");
                present.retain(|rule| Family::of(rule.backend) != family || !wanted.contains(rule));
            }
        }
        Ok(())
    }

    /// Takes away what a gateway that was killed has left: rules for links that are gone or are `link` now. Without any
    /// rule of ours left, the table `local` goes back to its place.
    pub async fn clear_reply_rules(&self, link: u32, links: &BTreeSet<u32>, family: Family) -> Result<(), KernelError> {
        let rules = self.rules(family).await?;
        let (ours, rest): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| table(rule) & 0xffff_0000 == TABLES);
        let is_of_another =
            |rule: &RuleMessage| links.iter().any(|other| *other != link && table(rule) == table_of(*other));
        let (others, gone): (Vec<_>, Vec<_>) = ours.into_iter().partition(is_of_another);
        for rule in gone {
            self.remove_rule(rule).await?;
        }
        if !others.is_empty() {
            return Ok(());
        }
        // These name no link: they serve whoever has rules for fragments.
        let with_ports = |rule: &RuleMessage| priority(rule) == WITH_PORTS_PRIORITY && table(rule) == LOCAL_TABLE;
        for rule in rest.into_iter().filter(with_ports) {
            self.remove_rule(rule).await?;
        }
        self.move_local_rule(family, LOCAL_PRIORITY, 0).await
    }

    /// Moves the rule of the table `local`, if it is there. It is added before it is removed: there is no moment
    /// without it. Of a gateway that was killed in between there may be two.
    async fn move_local_rule(&self, family: Family, from: u32, to: u32) -> Result<(), KernelError> {
        let is_it = |rule: &&RuleMessage| is_of_all(rule) && table(rule) == LOCAL_TABLE && priority(rule) == from;
        let found = self.rules(family).await?.iter().filter(is_it).count();
        if found == 0 {
            return Ok(());
        }
        self.add_rule(by_kernel(local_rule(family, to))).await?;
        for _ in 0..found {
            self.remove_rule(local_rule(family, from)).await?;
        }
        Ok(())
    }

    /// Whoever flushes all rules (`ip rule flush`) expects that of the table `local` to stay, as it does at 0. Without it this machine
    /// would not know its own addresses.
    async fn restore_local_rule(&self, family: Family) -> Result<(), KernelError> {
        let leads_there = |rule: &RuleMessage| table(rule) == LOCAL_TABLE && priority(rule) != WITH_PORTS_PRIORITY;
        if self.rules(family).await?.iter().any(leads_there) {
            return Ok(());
        }
        tracing::warn!("somebody has removed the policy rule of the table `local`: it is put back");
        self.add_rule(by_kernel(local_rule(family, LOCAL_PRIORITY))).await
    }

    async fn rules(&self, family: Family) -> Result<Vec<RuleMessage>, KernelError> {
        match self.handle().rule().get(family.version()).execute().try_collect().await {
            // A kernel without IPv6 has no rules for it.
            Err(error) if family == Family::V6 && is(&error, io::ErrorKind::Unsupported) => Ok(Vec::new()),
            found => found.map_err(|error| KernelError::netlink("read the policy rules", error)),
        }
    }

    async fn add_rule(&self, message: RuleMessage) -> Result<(), KernelError> {
        let mut request = self.handle().rule().add();
        *request.message_mut() = message;
        match request.execute().await {
            Err(error) if is(&error, io::ErrorKind::AlreadyExists) => Ok(()),
            done => done.map_err(|error| KernelError::netlink("add a policy rule", error)),
        }
    }

    async fn remove_rule(&self, message: RuleMessage) -> Result<(), KernelError> {
        match self.handle().rule().del(message).execute().await {
            Err(error) if is(&error, io::ErrorKind::NotFound) => Ok(()),
            done => done.map_err(|error| KernelError::netlink("remove a policy rule", error)),
        }
    }

    /// The table of our rules: everything goes to the link. It vanishes with the link.
    async fn add_table(&self, link: u32, family: Family) -> Result<(), KernelError> {
        let table = table_of(link);
        let route = match family {
            Family::V4 => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().table_id(table).output_interface(link);
                route.scope(netlink_packet_route::route::RouteScope::Link).build()
            }
            Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().table_id(table).output_interface(link).build(),
        };
        let added = self.handle().route().add(route).replace().execute().await;
        added.map_err(|error| KernelError::netlink("add the table for answers of plain backends", error))
    }
}

fn is(error: &rtnetlink::Error, kind: io::ErrorKind) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.to_io().kind() == kind)
}

fn table(rule: &RuleMessage) -> u32 {
    let long = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(u32::from(rule.header.table))
}

/// A rule without a priority has 0.
fn priority(rule: &RuleMessage) -> u32 {
    let priority = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    priority.unwrap_or(0)
}

/// It names nothing that a packet would have to have.
fn is_of_all(rule: &RuleMessage) -> bool {
    rule.attributes.iter().all(|attribute| {
        matches!(
            attribute,
            RuleAttribute::Table(_)
                | RuleAttribute::Priority(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(_)
                | RuleAttribute::Other(_)
        )
    })
}

/// As the kernel's own: programs that look after a machine's network (systemd-networkd) remove all others when they start.
fn by_kernel(mut rule: RuleMessage) -> RuleMessage {
    rule.attributes.push(RuleAttribute::Protocol(RouteProtocol::Kernel));
    rule
}

/// Without who made it: to be removed, whoever that was.
fn local_rule(family: Family, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family.of_netlink();
    message.header.action = RuleAction::ToTable;
    message.header.table = LOCAL_TABLE as u8;
    message.attributes.push(RuleAttribute::Priority(priority));
    message
}

impl ReplyRule {
    fn message(&self, link: u32) -> RuleMessage {
        let range = |start, end| RulePortRange { start, end };
        let (priority, table, from, to) = match self.part {
            ReplyPart::Answers { port, ports } => {
                let from = if port == 0 { EVERY_PORT } else { (port, port) };
                (ANSWERS_PRIORITY, table_of(link), Some(from), Some(ports))
            }
            ReplyPart::WithPorts => (WITH_PORTS_PRIORITY, LOCAL_TABLE, Some(EVERY_PORT), None),
            ReplyPart::Fragments => (FRAGMENTS_PRIORITY, table_of(link), None, None),
        };
        let mut message = RuleMessage::default();
        let family = Family::of(self.backend);
        message.header.family = family.of_netlink();
        message.header.action = RuleAction::ToTable;
        (message.header.src_len, message.header.dst_len) = (family.bits(), family.bits());
        message.attributes = vec![
            RuleAttribute::Priority(priority),
            RuleAttribute::Table(table),
            RuleAttribute::Source(self.backend),
            RuleAttribute::Destination(self.snat),
            RuleAttribute::IpProtocol(IpProtocol::from(self.protocol)),
        ];
        message.attributes.extend(from.map(|(start, end)| RuleAttribute::SourcePortRange(range(start, end))));
        message.attributes.extend(to.map(|(start, end)| RuleAttribute::DestinationPortRange(range(start, end))));
        message
    }
}
