//! When to ask: at once when the manager tells of an event, often while tasks come and go, seldom else. A manager that does
//! not answer is left for the next one; what was known stays.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::client::{ApiError, Connection, Engine, Stream};
use super::round::{Outcome, Place, Rounds, SERVICES};
use super::tls;
use super::wishes::Wishes;
use crate::config::SwarmConfig;
use crate::gateway::StartError;

/// Only events of the swarm as a whole, not those of the manager's own containers that join networks; there are none for tasks.
const EVENTS: &str = "/events?filters=%7B%22scope%22%3A%5B%22swarm%22%5D%2C%22type%22%3A%5B%22service%22%2C%22node%22%2C%22network%22%5D%7D";
/// Between two rounds while tasks come and go.
const FLUX: Duration = Duration::from_millis(100);
/// Between two looks at what may tell of tasks while nothing happens.
const CALM: Duration = Duration::from_millis(200);
/// A whole round at least this often.
const RESYNC: Duration = Duration::from_secs(5);
/// How long after the last change rounds follow each other quickly, and how long while tasks are on their way.
const SETTLE: Duration = Duration::from_secs(2);
const RESTLESS: Duration = Duration::from_mins(1);
/// Between two attempts when no manager answers.
const RETRY: Duration = Duration::from_millis(500);
/// At most this share of the time goes into rounds.
const PAUSE_PER_ROUND: u32 = 4;

/// The gateway, as the provider sees it.
pub trait Follower: Send + Sync + 'static {
    /// The swarm wants something else now.
    fn follow(&self, wishes: Wishes, place: Place);
    /// The manager at this endpoint has answered, and nothing was new.
    fn heard(&self, endpoint: &str);
    /// No answer, or none that makes sense.
    fn failed(&self, why: String);
    /// Whether this is an address of this machine.
    fn is_local(&self, address: Ipv4Addr) -> bool;
}

/// Follows a swarm.
pub struct Provider {
    config: SwarmConfig,
    managers: Vec<Engine>,
    engine: Engine,
    rounds: Rounds,
    /// Whether it has been heard once.
    synced: watch::Sender<bool>,
}

impl Provider {
    /// Reads the certificates; asks nobody yet.
    pub fn new(config: &SwarmConfig) -> Result<Provider, StartError> {
        let tls = config.tls.as_ref().map(tls::client).transpose()?;
        let engine = |endpoint: &crate::config::Endpoint| Engine::new(endpoint.clone(), tls.clone());
        Ok(Provider {
            managers: config.endpoints.iter().map(engine).collect(),
            engine: engine(&config.engine),
            config: config.clone(),
            rounds: Rounds::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Turns true with the first answer that was understood.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Follows the swarm until dropped.
    pub async fn run(mut self, follower: Arc<impl Follower>) {
        loop {
            for manager in self.managers.clone() {
                let Err(error) = self.follow(&manager, &*follower).await;
                tracing::debug!("swarm: {error}");
                follower.failed(error.to_string());
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Follows one manager as long as it answers.
    async fn follow(
        &mut self,
        manager: &Engine,
        follower: &impl Follower,
    ) -> Result<std::convert::Infallible, ApiError> {
        let mut connection = manager.connect().await?;
        // Events first, so that none falls between them and the first round.
        let mut events = manager.connect().await?.stream(EVENTS).await?;
        let name = manager.endpoint().to_string();
        let mut quick_until = Duration::ZERO;
        loop {
            let started = sys::clock::now();
            let restless = self.round(&mut connection, follower, &name, started).await?;
            let now = sys::clock::now();
            if let Some(patience) = restless {
                // As soon as all tasks have arrived, the patience with them is over.
                quick_until = now + patience;
            }
            if now < quick_until {
                let pause = FLUX.max(now.saturating_sub(started) * PAUSE_PER_ROUND);
                drain(&mut events, pause).await.ok_or_else(|| silent(&name))?;
            } else if self.rest(&mut connection, &mut events, follower, &name).await? {
                quick_until = sys::clock::now() + SETTLE;
            }
        }
    }

    /// One round; when something is new, how long to look closely.
    async fn round(
        &mut self,
        connection: &mut Connection,
        follower: &impl Follower,
        name: &str,
        now: Duration,
    ) -> Result<Option<Duration>, ApiError> {
        let is_local = |address| follower.is_local(address);
        let outcome = self.rounds.ask(connection, &self.engine, &self.config, &is_local, now).await?;
        let patience = match outcome {
            Outcome::Same => {
                follower.heard(name);
                None
            }
            Outcome::Doubtful(why) => {
                follower.failed(format!("{name}: {why}: not believed yet"));
                return Ok(Some(SETTLE));
            }
            Outcome::News(wishes) => {
                let patience = if wishes.restless { RESTLESS } else { SETTLE };
                follower.follow(*wishes, self.rounds.place(name.to_owned()));
                Some(patience)
            }
        };
        self.synced.send_replace(true);
        Ok(patience)
    }

    /// Waits while nothing happens. True: something did.
    async fn rest(
        &mut self,
        connection: &mut Connection,
        events: &mut Stream,
        follower: &impl Follower,
        name: &str,
    ) -> Result<bool, ApiError> {
        let until = sys::clock::now() + RESYNC;
        let watch = self.rounds.watch();
        let mut pause = CALM;
        while sys::clock::now() < until {
            tokio::select! {
                alive = events.next() => {
                    self.rounds.forget_network();
                    return if alive { Ok(true) } else { Err(silent(name)) };
                }
                () = tokio::time::sleep(pause) => {}
            }
            let started = sys::clock::now();
            if connection.get(SERVICES).await? != *self.rounds.last_services()
                || watch.differs(connection, self.rounds.last_tasks()).await?
            {
                return Ok(true);
            }
            pause = CALM.max(sys::clock::now().saturating_sub(started) * PAUSE_PER_ROUND);
            follower.heard(name);
        }
        Ok(false)
    }
}

fn silent(name: &str) -> ApiError {
    ApiError::Nonsense(name.to_owned(), "the stream of events has ended".to_owned())
}

/// Lets events pass: a round follows anyway. `None`: there will be none any more.
async fn drain(events: &mut Stream, pause: Duration) -> Option<()> {
    let over = tokio::time::sleep(pause);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Some(()),
            alive = events.next() => if !alive { return None },
        }
    }
}
