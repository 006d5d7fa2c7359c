//! The XDP filter: loads the program of `bpf/filter.c`, attaches it, and keeps its tables.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{Array, DevMap, HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, Pod, include_bytes_aligned};

use crate::filter_rules::{PortBits, Tables};
use crate::{FilterError, FilterRules, Shortcuts, XdpMode, link};

static PROGRAM: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/filter.o"));
/// The filter in the driver, and on kernels that know nothing of the next two; the one that takes joined packets, and what sends them on.
const FILTER: &str = "filter";
const FILTER_JOINED: &str = "filter_joined";
const SEND_NOTED: &str = "send_noted";

/// Interfaces that the filter has room for, and queues of each: their product is the size of the map of sockets.
const INTERFACES: u32 = 64;
/// See [`XdpFilter::set_socket`].
pub const QUEUES: u32 = 64;
/// VIPs with their protocols that the filter has room for, of IPv4 and of IPv6: `LISTENS` of the program.
pub const LISTENS: usize = 4096;

/// `enum verdict` of the program.
const VERDICTS: [&str; 13] = [
    "pass_not_ipv4",
    "pass_not_ours",
    "pass_malformed",
    "listen",
    "fragment",
    "vip_icmp",
    "overlay",
    "overlay_arp",
    "plain",
    "plain_fragment",
    "plain_icmp",
    "pass_no_socket",
    "shortcut",
];

/// How the filter runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's general receive path.
    Generic,
}

impl AttachMode {
    /// The mode for the interface's sockets, where `asked` was configured.
    #[must_use]
    pub fn socket_mode(self, asked: XdpMode) -> XdpMode {
        match self {
            AttachMode::Native => asked,
            AttachMode::Generic => XdpMode::Generic,
        }
    }
}

/// `struct interface` of the program.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    base: u32,
    address: [u8; 6],
    has_address: u8,
    unused: u8,
}

// SAFETY: integers without a gap between them.
unsafe impl Pod for Place {}

/// One interface that the filter is attached to, or knows sockets of.
struct Interface {
    base: u32,
    attached: Option<Attached>,
}

/// How. The programs are taken off with it.
struct Attached {
    mode: AttachMode,
    _filter: FdLink,
    /// Of the program that sends joined packets on, or why there is none.
    sender: Result<FdLink, String>,
}

/// One map of the program, and what was put into it.
struct Table<K, V, W = V>
where
    K: Pod,
    V: Pod,
{
    name: &'static str,
    map: HashMap<MapData, K, V>,
    loaded: BTreeMap<K, W>,
}

impl<K: Pod + Ord, V: Pod, W: Borrow<V> + Clone + PartialEq> Table<K, V, W> {
    fn take(program: &mut Ebpf, name: &'static str) -> Result<Table<K, V, W>, FilterError> {
        Ok(Table { name, map: take(program, name)?, loaded: BTreeMap::new() })
    }

    /// Puts in what is new or has changed.
    fn add(&mut self, wanted: &BTreeMap<K, W>) -> Result<(), FilterError> {
        for (key, value) in wanted {
            if self.loaded.get(key) != Some(value) {
                self.map.insert(key, value.borrow(), 0).map_err(|error| FilterError::table(self.name, error))?;
                self.loaded.insert(*key, value.clone());
            }
        }
        Ok(())
    }

    /// Takes out what is no longer wanted.
    fn trim(&mut self, wanted: &BTreeMap<K, W>) -> Result<(), FilterError> {
        let stale: Vec<K> = self.loaded.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in stale {
            self.map.remove(&key).map_err(|error| FilterError::table(self.name, error))?;
            self.loaded.remove(&key);
        }
        Ok(())
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(program: &mut Ebpf, name: &'static str) -> Result<M, FilterError> {
    let map = program.take_map(name).ok_or(FilterError::Missing(name))?;
    M::try_from(map).map_err(|error| FilterError::table(name, error))
}

/// Hands a program to the kernel, which gives up with EAGAIN when a signal comes while it verifies: that takes a tenth of a second.
fn verify(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 5;
    let is_interrupted = |error: &ProgramError| matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN));
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if is_interrupted(&error) => {}
            result => return result,
        }
    }
    load()
}

/// The filter program with its tables. It is on an interface for as long as this value lives: the kernel takes it off when the
/// process ends, however it ends.
pub struct XdpFilter {
    program: Ebpf,
    interfaces: BTreeMap<u32, Interface>,
    sockets: XskMap<MapData>,
    outputs: DevMap<MapData>,
    output_numbers: Array<MapData, u32>,
    verdicts: PerCpuArray<MapData, u64>,
    places: HashMap<MapData, u32, Place>,
    listens: Table<[u32; 2], PortBits, Box<PortBits>>,
    vips: Table<u32, u32>,
    tunnels: Table<[u32; 2], u32>,
    inner_addresses: Table<[u32; 2], u32>,
    plain_backends: Table<[u8; 8], u32>,
    snat: Table<u32, [u16; 2]>,
    listens_six: Table<[u32; 5], PortBits, Box<PortBits>>,
    vips_six: Table<[u32; 4], u32>,
    plain_backends_six: Table<[u32; 5], u32>,
    snat_six: Table<[u32; 4], [u16; 2]>,
}

impl XdpFilter {
    /// Loads the program, with empty tables: it takes nothing yet.
    ///
    /// # Errors
    /// No permission, or a kernel older than 5.15.
    pub fn load() -> Result<XdpFilter, FilterError> {
        let mut program = Ebpf::load(PROGRAM).map_err(FilterError::loading)?;
        let filter = xdp(&mut program, FILTER)?;
        verify(|| filter.load()).map_err(FilterError::program)?;
        Ok(XdpFilter {
            interfaces: BTreeMap::new(),
            sockets: take(&mut program, "sockets")?,
            outputs: take(&mut program, "outputs")?,
            output_numbers: take(&mut program, "output_numbers")?,
            verdicts: take(&mut program, "verdicts")?,
            places: take(&mut program, "interfaces")?,
            listens: Table::take(&mut program, "listens")?,
            vips: Table::take(&mut program, "vips")?,
            tunnels: Table::take(&mut program, "tunnels")?,
            inner_addresses: Table::take(&mut program, "inner_addresses")?,
            plain_backends: Table::take(&mut program, "plain_backends")?,
            snat: Table::take(&mut program, "snat")?,
            listens_six: Table::take(&mut program, "listens_six")?,
            vips_six: Table::take(&mut program, "vips_six")?,
            plain_backends_six: Table::take(&mut program, "plain_backends_six")?,
            snat_six: Table::take(&mut program, "snat_six")?,
            program,
        })
    }

    /// Puts the filter on the interface: in the driver if it can, generic as the last resort of [`XdpMode::Auto`], or when asked
    /// for. Attached already: says how.
    ///
    /// # Errors
    /// Another program is there, no such interface, or the driver cannot.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<AttachMode, FilterError> {
        let index = index_of(interface)?;
        if let Some(attached) = self.interfaces.get(&index).and_then(|known| known.attached.as_ref()) {
            return Ok(attached.mode);
        }
        self.base(index, interface)?;
        let attached = match mode {
            XdpMode::Generic => self.attach_generic(interface, index, mode)?,
            _ => match self.link(FILTER, interface, index, mode, AttachMode::Native) {
                Err(FilterError::Unsupported { .. }) if mode == XdpMode::Auto => {
                    self.attach_generic(interface, index, mode)?
                }
                link => Attached {
                    mode: AttachMode::Native,
                    _filter: link?,
                    sender: Err("it has XDP in its driver".into()),
                },
            },
        };
        let how = attached.mode;
        if let Some(known) = self.interfaces.get_mut(&index) {
            known.attached = Some(attached);
        }
        Ok(how)
    }

    /// Why packets of lent flows, which may be joined ones, are not sent on from this interface without XDP in its driver. None: they
    /// are.
    #[must_use]
    pub fn keeps_joined(&self, interface: &str) -> Option<&str> {
        let attached = index_of(interface).ok().and_then(|index| self.interfaces.get(&index)?.attached.as_ref());
        attached.map_or(Some("the filter is not on it"), |attached| attached.sender.as_ref().err().map(String::as_str))
    }

    /// With joined packets where the kernel has what that takes (Linux 6.6).
    fn attach_generic(&mut self, interface: &str, index: u32, asked: XdpMode) -> Result<Attached, FilterError> {
        let sender = self.link_sender(interface).map_err(|error| error.to_string());
        let filter = if sender.is_ok() { FILTER_JOINED } else { FILTER };
        let link = self.link(filter, interface, index, asked, AttachMode::Generic)?;
        Ok(Attached { mode: AttachMode::Generic, _filter: link, sender })
    }

    /// Puts the program behind the interface that sends joined packets on, in front of others of its kind: a noted packet is ours.
    fn link_sender(&mut self, interface: &str) -> Result<FdLink, FilterError> {
        let filter = xdp(&mut self.program, FILTER_JOINED)?;
        if filter.fd().is_err() {
            verify(|| filter.load()).map_err(FilterError::program)?;
        }
        let found = self.program.program_mut(SEND_NOTED).ok_or(FilterError::Missing("program"))?;
        let sender = <&mut SchedClassifier>::try_from(found).map_err(FilterError::program)?;
        if sender.fd().is_err() {
            verify(|| sender.load()).map_err(FilterError::program)?;
        }
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = sender.attach_with_options(interface, TcAttachType::Ingress, first).map_err(FilterError::program)?;
        let link = sender.take_link(id).map_err(FilterError::program)?;
        FdLink::try_from(link).map_err(|_| FilterError::Missing("BPF link"))
    }

    fn link(
        &mut self,
        program: &str,
        interface: &str,
        index: u32,
        asked: XdpMode,
        how: AttachMode,
    ) -> Result<FdLink, FilterError> {
        let flags = match how {
            AttachMode::Native => aya::programs::XdpMode::Driver,
            AttachMode::Generic => aya::programs::XdpMode::Skb,
        };
        let wrong = |error| FilterError::attaching(interface, asked, error);
        let program = xdp(&mut self.program, program)?;
        let id = program.attach_to_if_index(index, flags).map_err(wrong)?;
        // Not a link: then it would outlive a killed process. Linux has had links since 5.9.
        FdLink::try_from(program.take_link(id).map_err(wrong)?).map_err(|_| FilterError::Missing("BPF link"))
    }

    /// Packets that are taken on this queue go to the `AF_XDP` socket `fd`, which must be bound to it.
    ///
    /// # Errors
    /// No such interface, no room, or `fd` is not an `AF_XDP` socket.
    pub fn set_socket(&mut self, interface: &str, queue: u32, fd: BorrowedFd<'_>) -> Result<(), FilterError> {
        let base = self.base(index_of(interface)?, interface)?;
        if queue >= QUEUES {
            return Err(no_room(interface, queue));
        }
        self.sockets.set(base + queue, fd.as_raw_fd(), 0).map_err(|error| FilterError::table("sockets", error))
    }

    /// An interface by which shortcuts leave: its number in the kernel, and its place here.
    ///
    /// # Errors
    /// No such interface, or no room.
    pub fn output(&mut self, interface: &str) -> Result<(u32, u32), FilterError> {
        let index = index_of(interface)?;
        let place = self.base(index, interface)? / QUEUES;
        self.outputs.set(place, index, None, 0).map_err(FilterError::output)?;
        self.output_numbers.set(place, index, 0).map_err(|error| FilterError::table("output_numbers", error))?;
        Ok((index, place))
    }

    /// The table of flows that workers lend to this program; nothing is lent before its terms are set. To be called once.
    ///
    /// # Errors
    /// No memory, or it was called before.
    pub fn shortcuts(&mut self, key: u64) -> Result<Shortcuts, FilterError> {
        let mut array = |name| match self.program.take_map(name) {
            Some(Map::Array(map)) => Ok(map),
            _ => Err(FilterError::Missing(name)),
        };
        let (terms, buckets, flows) = (array("terms")?, array("buckets")?, array("shortcuts")?);
        let (terms, buckets, flows) = (terms.fd().as_fd(), buckets.fd().as_fd(), flows.fd().as_fd());
        Shortcuts::map(terms, buckets, flows, key).map_err(|error| FilterError::table("shortcuts", error.into()))
    }

    /// Where the interface's sockets begin in their map.
    fn base(&mut self, index: u32, interface: &str) -> Result<u32, FilterError> {
        if let Some(known) = self.interfaces.get(&index) {
            return Ok(known.base);
        }
        let count = self.interfaces.len() as u32;
        if count >= INTERFACES {
            return Err(no_room(interface, 0));
        }
        let base = count * QUEUES;
        self.put(index, base, None)?;
        self.interfaces.insert(index, Interface { base, attached: None });
        Ok(base)
    }

    /// Takes only frames to this Ethernet address on the interface with this number, and to those that VRRP routers share. Before it is
    /// told, those to any. Does nothing about an interface that it is not attached to.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_address(&mut self, index: u32, address: [u8; 6]) -> Result<(), FilterError> {
        match self.interfaces.get(&index) {
            Some(known) => self.put(index, known.base, Some(address)),
            None => Ok(()),
        }
    }

    fn put(&mut self, index: u32, base: u32, address: Option<[u8; 6]>) -> Result<(), FilterError> {
        let (has_address, address) = (u8::from(address.is_some()), address.unwrap_or_default());
        let place = Place { base, address, has_address, unused: 0 };
        self.places.insert(index, place, 0).map_err(|error| FilterError::table("interfaces", error))
    }

    /// Makes the tables say what `rules` say. What is new is added before what is old is removed, and a VIP's ports change all
    /// at once, so that no packet of anything that stays is missed meanwhile.
    ///
    /// # Errors
    /// A table is full. What was done so far stays, and the next call goes on from there.
    pub fn publish(&mut self, rules: &FilterRules) -> Result<(), FilterError> {
        let wanted = Tables::of(rules)?;
        self.publish_six(&wanted)?;
        self.snat.add(&wanted.snat)?;
        self.plain_backends.add(&wanted.plain_backends)?;
        self.inner_addresses.add(&wanted.inner_addresses)?;
        self.tunnels.add(&wanted.tunnels)?;
        self.vips.add(&wanted.vips)?;
        self.listens.add(&wanted.listens)?;

        self.listens.trim(&wanted.listens)?;
        self.vips.trim(&wanted.vips)?;
        self.tunnels.trim(&wanted.tunnels)?;
        self.inner_addresses.trim(&wanted.inner_addresses)?;
        self.plain_backends.trim(&wanted.plain_backends)?;
        self.snat.trim(&wanted.snat)
    }

    /// The same for IPv6.
    fn publish_six(&mut self, wanted: &Tables) -> Result<(), FilterError> {
        self.snat_six.add(&wanted.snat_six)?;
        self.plain_backends_six.add(&wanted.plain_backends_six)?;
        self.vips_six.add(&wanted.vips_six)?;
        self.listens_six.add(&wanted.listens_six)?;

        self.listens_six.trim(&wanted.listens_six)?;
        self.vips_six.trim(&wanted.vips_six)?;
        self.plain_backends_six.trim(&wanted.plain_backends_six)?;
        self.snat_six.trim(&wanted.snat_six)
    }

    /// What the program does with a frame that arrives on `lo`, and the frame afterwards; nothing is really sent. For tests, which
    /// compare it with other ways to treat a packet. 2 is "to the kernel", 4 is "sent on".
    ///
    /// # Errors
    /// The kernel takes no frame of this length.
    pub fn try_frame(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), FilterError> {
        let mut after = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut after), ..TestRunOptions::new() };
        let result = xdp(&mut self.program, FILTER)?.test_run(options).map_err(FilterError::program)?;
        after.truncate(result.data_size_out as usize);
        Ok((result.return_value, after))
    }

    /// Packets by verdict since the filter was loaded; names that begin with `pass_` went to the kernel.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let packets = |index| self.verdicts.get(&index, 0).map_or(0, |per_cpu| per_cpu.iter().sum());
        (0..).zip(VERDICTS).map(|(index, name)| (name, packets(index))).collect()
    }
}

fn xdp<'a>(program: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, FilterError> {
    let found = program.program_mut(name).ok_or(FilterError::Missing("program"))?;
    <&mut Xdp>::try_from(found).map_err(|error: ProgramError| FilterError::program(error))
}

fn index_of(interface: &str) -> Result<u32, FilterError> {
    link::index(interface).map_err(|_| FilterError::NoSuchInterface { interface: interface.to_owned() })
}

fn no_room(interface: &str, queue: u32) -> FilterError {
    FilterError::NoRoom { interface: interface.to_owned(), queue, interfaces: INTERFACES, queues: QUEUES }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
