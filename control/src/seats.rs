//! The connections of a server: so many at a time, each for so long, and none after the server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// More wait in the socket's backlog.
pub const MOST_CONNECTIONS: usize = 64;
/// How long a connection may live in all: nobody needs an hour to ask something.
const CONNECTION_PATIENCE: Duration = Duration::from_mins(1);

/// Talks with everybody that `accept` lets in, until dropped; then all connections end.
pub async fn serve<S, A, T>(name: &str, accept: impl Fn() -> A, talk: impl Fn(S) -> T)
where
    A: Future<Output = io::Result<S>>,
    T: Future<Output = ()> + Send + 'static,
{
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match accept().await {
            Ok(stream) => {
                let talk = tokio::time::timeout(CONNECTION_PATIENCE, talk(stream));
                connections.spawn(async move {
                    // Over time or not, the connection is closed.
                    let _ = talk.await;
                    drop(seat);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: what is open must close first.
                tracing::warn!("{name} cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
