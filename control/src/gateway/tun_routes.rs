//! Keeps a host route to the TUN device for every VIP, and the rules for answers of plain backends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};

use super::TunWants;
use crate::kernel::{self, Family, Kernel, KernelError, ReplyRule};

/// How long after a refusal to try again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the kernel may take to give up the rules.
const END: Duration = Duration::from_secs(1);

/// The routes to one TUN device.
#[derive(Debug)]
pub struct TunRoutes {
    kernel: Arc<Kernel>,
    name: String,
    link: u32,
    present: BTreeSet<IpAddr>,
    rules: BTreeSet<ReplyRule>,
    /// What was added may be gone.
    in_doubt: bool,
    /// For these the kernel has what rules need.
    prepared: BTreeSet<Family>,
    /// This machine forwards IPv6, as it must once there is an address of it.
    forwards_six: bool,
}

/// The task that follows what is wanted.
#[derive(Debug)]
pub struct TunFollower {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
    /// By itself, by a defect: it was waited for, and may not have cleared up.
    has_ended: bool,
}

/// The gateway's line to the follower.
#[derive(Debug)]
pub struct TunLine {
    /// What is wanted.
    pub wants: watch::Sender<TunWants>,
    /// What the kernel refuses now, in a sentence.
    pub trouble: watch::Receiver<Option<String>>,
}

impl TunFollower {
    /// Waits until it ends by itself, which it does not.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        let ended = (&mut self.task).await;
        self.has_ended = true;
        ended
    }

    /// Ends it, whoever still wants something, and waits until the rules are taken away: they would outlive the process.
    pub async fn end(self) {
        drop(self.end);
        if self.has_ended || tokio::time::timeout(END, self.task).await.is_err() {
            tracing::warn!("policy rules for TUN may be left over; the next start takes them away");
        }
    }
}

impl TunRoutes {
    /// Switches the device on.
    pub async fn set_up(kernel: Arc<Kernel>, name: &str, mtu: u32) -> Result<TunRoutes, KernelError> {
        let link = kernel.set_up(name, mtu).await?;
        let routes = TunRoutes {
            kernel,
            name: name.to_owned(),
            link,
            present: BTreeSet::new(),
            in_doubt: false,
            rules: BTreeSet::new(),
            prepared: BTreeSet::new(),
            forwards_six: false,
        };
        routes.clear_rules().await?;
        Ok(routes)
    }

    /// Makes routes and rules those of `wanted`, as far as the kernel lets; the first that it refuses.
    pub async fn set(&mut self, wanted: &TunWants) -> Result<(), KernelError> {
        if self.in_doubt {
            // All that is wanted is put there, whether it is there or not; what is not wanted goes by what is known.
            self.present.retain(|address| !wanted.addresses.contains(address));
            self.prepared.clear();
            self.kernel.doubt_reply_rules(self.link, &mut self.rules, &wanted.replies).await?;
            self.in_doubt = false;
        }
        let routes = self.kernel.set_routes(self.link, &mut self.present, &wanted.addresses).await;
        // One that the kernel refuses costs the others nothing.
        let rules = self.set_rules(wanted).await;
        let forwarding = self.forward_six(wanted);
        routes.and(rules).and(forwarding)
    }

    async fn set_rules(&mut self, wanted: &TunWants) -> Result<(), KernelError> {
        for family in wanted.replies.iter().map(|rule| Family::of(rule.backend)) {
            if !self.prepared.contains(&family) {
                self.kernel.prepare_reply_rules(self.link, family).await?;
                self.prepared.insert(family);
            }
        }
        self.kernel.set_reply_rules(self.link, &mut self.rules, &wanted.replies).await
    }

    /// The kernel carries IPv6 between the device and the interfaces only if it is told to.
    fn forward_six(&mut self, wanted: &TunWants) -> Result<(), KernelError> {
        if self.forwards_six || !wanted.addresses.iter().any(IpAddr::is_ipv6) {
            return Ok(());
        }
        let failed = |error| KernelError::new("switch on net.ipv6.conf.all.forwarding", error);
        if kernel::forward_six().map_err(failed)? {
            tracing::info!(
                "switched on net.ipv6.conf.all.forwarding: the kernel carries packets between TUN and the interfaces"
            );
        }
        self.forwards_six = true;
        Ok(())
    }

    /// Rules outlive their device: those of a gateway that was killed, or of this one when it ends.
    async fn clear_rules(&self) -> Result<(), KernelError> {
        let links: BTreeSet<u32> = self.kernel.view().borrow().links.keys().copied().collect();
        for family in Family::ALL {
            self.kernel.clear_reply_rules(self.link, &links, family).await?;
        }
        Ok(())
    }

    /// Takes all rules away; that it failed is said.
    pub async fn clear_rules_or_say(&self) {
        if let Err(error) = self.clear_rules().await {
            tracing::warn!("{:?}: {error}", self.name);
        }
    }

    /// Follows `wanted` until the line or the follower is gone. A device that was down has lost its routes, and the kernel does not tell
    /// of each: they are added again when it is up, also if nobody has seen it down.
    pub fn follow(mut self, wanted: TunWants) -> (TunLine, TunFollower) {
        let (end, ended) = oneshot::channel::<()>();
        let (wants, wanted) = watch::channel(wanted);
        let (say, trouble) = watch::channel(None);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = self.follow_until_gone(wanted, say) => {}
                _ = ended => {}
            }
            self.clear_rules_or_say().await;
        });
        (TunLine { wants, trouble }, TunFollower { task, end, has_ended: false })
    }

    async fn follow_until_gone(&mut self, mut wanted: watch::Receiver<TunWants>, say: watch::Sender<Option<String>>) {
        let (mut view, mut upheavals) = (self.kernel.view(), self.kernel.upheavals());
        let mut was_up = true;
        loop {
            let up = view.borrow_and_update().link_named(&self.name).is_some_and(|link| link.up);
            if !up {
                self.present.clear();
                self.prepared.clear();
            }
            let now = wanted.borrow_and_update().clone();
            let done = if up { self.set(&now).await } else { Ok(()) };
            if up != was_up {
                tracing::warn!("{:?} is {}", self.name, if up { "up again" } else { "down" });
            }
            was_up = up;
            let retry = done.is_err();
            let trouble = done.err().map(|error| format!("TUN device {}: {error}", self.name));
            if say.send_if_modified(|said| std::mem::replace(said, trouble.clone()) != trouble)
                && let Some(trouble) = trouble
            {
                tracing::warn!("{trouble}; trying again");
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                changed = view.changed() => if changed.is_err() { return },
                told = upheavals.changed() => match told {
                    Ok(()) => self.in_doubt = true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
    }
}
