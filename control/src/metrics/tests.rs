//! The page, and the server that gives it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use datapath::service::BackendId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::server::Render;
use super::{MetricsServer, page};
use crate::api::Fake;
use crate::seats::MOST_CONNECTIONS;

#[test]
fn everything_is_on_the_page() {
    let mut fake = Fake::new();
    fake.lost.insert(BackendId(3));
    let page = page(&fake).text().unwrap();
    // The values of a metric come in no order.
    let mut lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    lines.sort_unstable();
    assert_words!(lines.join("\n"));
}

#[test]
fn the_page_is_given_to_whoever_asks_for_it() {
    let served = Served::start(Arc::new(|| Ok("the page".to_owned())));
    let ask = |request: &str| rest(served.ask(request, "close"));
    let page = ask("GET /metrics");
    assert!(page.starts_with("http/1.1 200 ") && page.ends_with("\r\n\r\nthe page"), "{page}");
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(ask("GET /").starts_with("http/1.1 404 "));
    let refused = ask("POST /metrics");
    assert!(refused.starts_with("http/1.1 405 ") && refused.contains("\r\nallow: get, head\r\n"), "{refused}");
}

/// Scrapers keep their connections open, and would hold up the end of the gateway.
#[test]
fn an_open_connection_ends_with_the_server() {
    let render: Render = Arc::new(|| Ok("the page".to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let serving = tokio::spawn(server.serve(Arc::clone(&render)));
        let mut open = tokio::net::TcpStream::connect(address).await.unwrap();
        open.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(open.read(&mut [0; 1000]).await.unwrap() > 0);
        serving.abort();
        for _ in 0..500 {
            if Arc::strong_count(&render) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway is still held");
    });
}

#[test]
fn who_finds_no_seat_waits_for_one() {
    let served = Served::start(Arc::new(|| Ok("the page".to_owned())));
    let mut seated: Vec<TcpStream> = (0..MOST_CONNECTIONS).map(|_| served.ask("GET /metrics", "keep-alive")).collect();
    for stream in &mut seated {
        stream.read_exact(&mut [0]).unwrap();
    }
    let mut next = served.ask("GET /metrics", "close");
    next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(next.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(seated.pop());
    assert!(rest(next).ends_with("the page"));
}

/// Control has one thread for everything that must not wait.
#[test]
fn others_are_heard_while_a_page_is_made() {
    let (finish, finished) = mpsc::channel();
    let finished = Mutex::new(finished);
    let served = Served::start(Arc::new(move || {
        finished.lock().unwrap().recv_timeout(Duration::from_mins(1)).map_err(|error| error.to_string())
    }));
    let slow = served.ask("GET /metrics", "close");
    assert!(rest(served.ask("GET /", "close")).starts_with("http/1.1 404 "));
    finish.send("the page".to_owned()).unwrap();
    assert!(rest(slow).ends_with("the page"));
}

/// A server on a thread of its own, until dropped.
struct Served {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(render: Render) -> Served {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(MetricsServer::bind("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = server.serve(render) => {}
                    _ = stopped => {}
                }
            });
        });
        Served { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Sends a request; `connection` says what is to become of the connection.
    fn ask(&self, request: &str, connection: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n").unwrap();
        stream
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// All that comes until the server closes.
fn rest(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.to_lowercase()
}
