//! The rules for TUN, in the kernel of an empty network namespace.

use std::sync::Arc;

use tokio::sync::watch;

use super::{TunRoutes, TunWants};
use crate::kernel::namespace::{in_namespace, ip};
use crate::kernel::{Kernel, ReplyPart, ReplyRule};

#[test]
fn rules_go_even_when_the_gateway_stays() {
    in_namespace("gateway::tests_tun::rules_go_even_when_the_gateway_stays", || {
        ip("tuntap add dev sg0 mode tun");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let part = ReplyPart::Answers { port: 80, ports: (1024, 32767) };
            let [backend, snat] = ["198.18.1.12", "198.18.1.1"].map(|address| address.parse().unwrap());
            let rule = ReplyRule { backend, snat, protocol: 6, part };
            let wants = TunWants { replies: [rule].into(), ..TunWants::default() };
            let before = ip("rule show");
            let kernel = Arc::new(Kernel::open().await.unwrap());
            let mut routes = TunRoutes::set_up(kernel, "sg0", 1500).await.unwrap();
            routes.set(&wants).await.unwrap();
            assert!(ip("rule show").contains("from 198.18.1.12 to 198.18.1.1"));
            let (wanted, follow) = watch::channel(wants);
            routes.follow(follow).end().await;
            assert_eq!(ip("rule show"), before);
            // A request that hangs has the gateway, and that has this.
            drop(wanted);
        });
    });
}
