//! The rules for TUN, in the kernel of an empty network namespace.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{TunRoutes, TunWants};
use crate::kernel::namespace::{in_namespace, ip};
use crate::kernel::{Kernel, ReplyPart, ReplyRule};

/// For what a plain backend answers.
fn rule() -> ReplyRule {
    let part = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
    let [backend, snat] = ["198.18.1.12", "198.18.1.1"].map(|address| address.parse().unwrap());
    ReplyRule { backend, snat, protocol: 6, part }
}

#[test]
fn rules_go_even_when_the_gateway_stays() {
    in_namespace("gateway::tests_tun::rules_go_even_when_the_gateway_stays", || {
        ip("tuntap add dev sg0 mode tun");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wants = TunWants { replies: [rule()].into(), ..TunWants::default() };
            let before = ip("rule show");
            let kernel = Arc::new(Kernel::open().await.unwrap());
            let mut routes = TunRoutes::set_up(kernel, "sg0", 1500).await.unwrap();
            routes.set(&wants).await.unwrap();
            assert!(ip("rule show").contains("from 198.18.1.12 to 198.18.1.1"));
            let (line, follower) = routes.follow(wants);
            follower.end().await;
            assert_eq!(ip("rule show"), before);
            // A request that hangs has the gateway, and that has this.
            drop(line);
        });
    });
}

/// Here IPv6 is switched off, for the device as `disable_ipv6` does it.
#[test]
fn a_route_that_is_refused_costs_the_others_nothing_and_is_said() {
    in_namespace("gateway::tests_tun::a_route_that_is_refused_costs_the_others_nothing_and_is_said", || {
        // Like a TUN device with somebody behind it.
        ip("link add sg0 type veth peer name sg1");
        ip("link set sg1 up");
        std::fs::write("/proc/sys/net/ipv6/conf/sg0/disable_ipv6", "1\n").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let vips = ["198.18.0.1", "2001:db8::1"].map(|vip| vip.parse().unwrap());
            let wants = TunWants { addresses: vips.into(), replies: [rule()].into() };
            let kernel = Arc::new(Kernel::open().await.unwrap());
            let routes = TunRoutes::set_up(kernel, "sg0", 1500).await.unwrap();
            let (mut line, follower) = routes.follow(TunWants::default());
            line.wants.send_replace(wants.clone());
            let patience = Duration::from_secs(20);
            timeout(patience, line.trouble.wait_for(Option::is_some)).await.unwrap().unwrap();
            let trouble = line.trouble.borrow().clone().unwrap();
            assert!(trouble.starts_with("TUN device sg0: add the route to 2001:db8::1: "), "{trouble}");
            assert!(ip("rule show").contains("from 198.18.1.12 to 198.18.1.1"));
            assert!(ip("route show").contains("198.18.0.1 dev sg0"));
            line.wants.send_modify(|wants| wants.addresses = [vips[0]].into());
            timeout(patience, line.trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
            follower.end().await;
        });
    });
}

/// As `ip rule flush` does, or a program that thinks that all rules are its own.
#[test]
fn rules_that_somebody_removes_are_put_back() {
    in_namespace("gateway::tests_tun::rules_that_somebody_removes_are_put_back", || {
        // Like a TUN device with somebody behind it.
        ip("link add sg0 type veth peer name sg1");
        ip("link set sg1 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wants = TunWants { replies: [rule()].into(), ..TunWants::default() };
            let kernel = Arc::new(Kernel::open().await.unwrap());
            let mut routes = TunRoutes::set_up(kernel, "sg0", 1500).await.unwrap();
            routes.set(&wants).await.unwrap();
            let before = ip("rule show");
            let (_line, follower) = routes.follow(wants);
            for priority in [17, 20] {
                ip(&format!("rule del pref {priority}"));
            }
            // Whatever happens to a link makes it look at what is its own.
            ip("tuntap add dev other mode tun");
            timeout(Duration::from_secs(20), async {
                while ip("rule show") != before {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await
            .unwrap();
            follower.end().await;
        });
    });
}

/// A defect ends it; the gateway, which notices, ends it once more.
#[test]
fn a_follower_that_has_ended_can_be_ended() {
    in_namespace("gateway::tests_tun::a_follower_that_has_ended_can_be_ended", || {
        ip("tuntap add dev sg0 mode tun");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let kernel = Arc::new(Kernel::open().await.unwrap());
            let routes = TunRoutes::set_up(kernel, "sg0", 1500).await.unwrap();
            let (line, mut follower) = routes.follow(TunWants::default());
            // Nobody wants anything any more.
            drop(line);
            timeout(Duration::from_secs(20), follower.ended()).await.unwrap().unwrap();
            follower.end().await;
        });
    });
}
