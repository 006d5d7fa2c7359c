//! The page, and the server that gives it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::{MetricsServer, render};
use crate::api::Fake;

#[test]
fn everything_is_on_the_page() {
    let page = render(&Fake::new()).unwrap();
    // The values of a metric come in no order.
    let mut lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    lines.sort_unstable();
    assert_words!(lines.join("\n"));
}

#[test]
fn the_page_is_given_to_whoever_asks_for_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(MetricsServer::bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = server.serve(Arc::new(|| Ok("the page".to_owned()))) => {}
                _ = stopped => {}
            }
        });
    });
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.to_lowercase()
    };
    let page = ask("GET /metrics");
    assert!(page.starts_with("http/1.1 200 ") && page.ends_with("\r\n\r\nthe page"), "{page}");
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(ask("GET /").starts_with("http/1.1 404 "));
    let refused = ask("POST /metrics");
    assert!(refused.starts_with("http/1.1 405 ") && refused.contains("\r\nallow: get, head\r\n"), "{refused}");
    drop(stop);
    thread.join().unwrap();
}
