//! Generic XDP with the program behind it that sends joined packets on.

use sys::{AttachMode, XdpFilter, XdpMode};

use crate::lab::{in_namespace, veth};

#[test]
fn it_is_put_behind_interfaces_without_xdp_in_their_driver() {
    in_namespace(|| {
        veth("near", "far", 1);
        let mut filter = XdpFilter::load().unwrap();
        assert_eq!(filter.attach("near", XdpMode::Generic).unwrap(), AttachMode::Generic);
        assert_eq!(filter.keeps_joined("near"), None);
    });
}
