//! What a TUN device needs of the kernel: to be up, and to get the packets of the VIPs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::LinkUnspec;

use super::{Kernel, KernelError, read};

/// What the kernel says when a route is not there.
const ESRCH: i32 = 3;

impl Kernel {
    /// Sets the MTU of a link and switches it on; gives its index.
    pub async fn set_up(&self, name: &str, mtu: u32) -> Result<u32, KernelError> {
        let what = format!("switch on {name:?}");
        let links = read::links(self.handle()).await?;
        let link = links.values().find(|link| link.name == name);
        let missing = || KernelError::new(what.clone(), std::io::ErrorKind::NotFound.into());
        let index = link.ok_or_else(missing)?.index;
        let message = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
        let changed = self.handle().link().set(message).execute().await;
        changed.map_err(|error| KernelError::netlink(what, error))?;
        Ok(index)
    }

    /// Adds and removes host routes through a link until they are those of `wanted`; `present` holds
    /// what this process added before. They vanish with the link. One that the kernel refuses costs the others nothing; the
    /// first refusal is told.
    pub async fn set_routes(
        &self,
        link: u32,
        present: &mut BTreeSet<IpAddr>,
        wanted: &BTreeSet<IpAddr>,
    ) -> Result<(), KernelError> {
        let mut outcome = Ok(());
        for address in wanted.difference(&present.clone()) {
            match self.add_route(link, *address).await {
                Ok(()) => drop(present.insert(*address)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        for address in present.clone().difference(wanted) {
            match self.remove_route(link, *address).await {
                Ok(()) => drop(present.remove(address)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    async fn add_route(&self, link: u32, address: IpAddr) -> Result<(), KernelError> {
        let added = self.handle().route().add(host_route(link, address)).replace().execute().await;
        added.map_err(|error| KernelError::netlink(format!("add the route to {address}"), error))
    }

    async fn remove_route(&self, link: u32, address: IpAddr) -> Result<(), KernelError> {
        let removed = self.handle().route().del(host_route(link, address)).execute().await;
        let removed = removed.map_err(|error| KernelError::netlink(format!("remove the route to {address}"), error));
        // Somebody else has done it, or the link was down in between.
        removed.or_else(|error| if error.source.raw_os_error() == Some(ESRCH) { Ok(()) } else { Err(error) })
    }
}

fn host_route(link: u32, address: IpAddr) -> RouteMessage {
    let mut route = read::host_route(address);
    route.attributes.push(RouteAttribute::Oif(link));
    // IPv6 knows no scopes of routes.
    if address.is_ipv4() {
        route.header.scope = RouteScope::Link;
    }
    route
}
