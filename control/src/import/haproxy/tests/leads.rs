//! To whom a service may not come down.

use super::{listen, notes};

#[test]
fn a_service_does_not_come_down_to_its_backups() {
    let backup = "server b 10.0.0.9:80 backup";
    for server in [
        "server a a.example.org:80",
        "server a 10.0.0.1:80 ssl",
        "server a 10.0.0.1:+1000",
        "server-template a 3 a.example.org:80",
    ] {
        let imported = listen(&format!("{server}\n{backup}"));
        assert_eq!(imported.services, 0, "{server}\n{}", imported.config);
        assert!(notes(&imported, 1).contains("the service was left out"), "{:?}", imported.notes);
    }
    for server in ["", "server a a.example.org:80 backup", "server a 10.0.0.1:80 ssl backup", "server a 10.0.0.1:80"] {
        assert_eq!(listen(&format!("{server}\n{backup}")).services, 1, "{server}");
    }
}
