//! The provider against made-up managers on unix sockets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{VIP, sample};
use crate::api::tempdir::Directory;
use crate::config::{Endpoint, OverlaySeed, SwarmConfig, TlsConfig};
use crate::swarm::provider::{Follower, Provider};
use crate::swarm::round::Place;
use crate::swarm::wishes::Wishes;

pub const INGRESS: &str = "/networks/rp3zpkp4rkhej8jrp37h9jr6n";

/// What was asked for; another path, and what it answers from then on.
type Later = (&'static str, &'static str, String);

/// What a made-up manager answers, by path, how often it was asked, and what changes when it is.
#[derive(Clone, Default)]
pub struct Answers(
    Arc<Mutex<BTreeMap<&'static str, (StatusCode, String)>>>,
    Arc<Mutex<BTreeMap<String, usize>>>,
    Arc<Mutex<Vec<Later>>>,
);

impl Answers {
    pub fn recorded() -> Answers {
        let answers = Answers::default();
        answers.set("/services", sample!("services"));
        answers.set("/tasks", sample!("tasks"));
        answers.set("/nodes", sample!("nodes"));
        answers.set("/networks", sample!("networks"));
        answers.set(INGRESS, sample!("network-ingress-manager-verbose"));
        answers.set("/swarm", sample!("swarm"));
        answers.set("/info", "{}");
        answers
    }

    pub fn set(&self, path: &'static str, body: &str) {
        self.0.lock().unwrap().insert(path, (StatusCode::OK, body.to_owned()));
    }

    /// As [`Answers::set`], as soon as it was `asked` for something else.
    pub fn set_once_asked(&self, asked: &'static str, path: &'static str, body: &str) {
        self.2.lock().unwrap().push((asked, path, body.to_owned()));
    }

    pub fn set_status(&self, path: &'static str, status: StatusCode) {
        self.0.lock().unwrap().entry(path).or_default().0 = status;
    }

    fn times_asked(&self, path: &str) -> usize {
        self.1.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// Waits until it is asked for this once more.
    async fn is_asked(&self, path: &str) {
        let before = self.times_asked(path);
        until(|| self.times_asked(path) > before).await;
    }

    fn refuse(&self) {
        for (status, body) in self.0.lock().unwrap().values_mut() {
            (*status, *body) = (StatusCode::SERVICE_UNAVAILABLE, sample!("worker-tasks-error").to_owned());
        }
    }

    fn get(&self, path: &str) -> (StatusCode, String) {
        self.0.lock().unwrap().get(path).cloned().unwrap_or((StatusCode::NOT_FOUND, String::new()))
    }

    /// Serves them on this socket until the runtime ends.
    pub fn serve(self, path: &PathBuf) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().converse(stream));
            }
        });
    }

    /// Answers whatever is asked on this connection.
    pub async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let answer = self.answer(request.uri());
            async move { Ok::<_, Infallible>(answer) }
        });
        // How it ends is the client's affair.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, uri: &hyper::Uri) -> Response<BoxBody<Bytes, Infallible>> {
        let path = uri.path();
        if path == "/events" {
            *self.1.lock().unwrap().entry(uri.to_string()).or_default() += 1;
            let endless = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            return Response::new(BoxBody::new(StreamBody::new(endless)));
        }
        *self.1.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        let (status, body) = self.get(path);
        for (_, other, body) in self.2.lock().unwrap().extract_if(.., |(asked, ..)| *asked == path) {
            self.set(other, &body);
        }
        let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
        *response.status_mut() = status;
        response
    }
}

async fn until(done: impl Fn() -> bool) {
    let polled = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polled).await.unwrap();
}

/// What the provider says.
#[derive(Debug)]
pub enum Said {
    Follow(Wishes, Place),
    Failed(String),
}

/// Passes on what it is told, and keeps who was heard last.
pub struct Listener(pub mpsc::UnboundedSender<Said>, pub Arc<Mutex<String>>);

impl Follower for Listener {
    fn follow(&self, wishes: Wishes, place: Place) {
        let _ = self.0.send(Said::Follow(wishes, place));
    }

    fn heard(&self, endpoint: &str) {
        endpoint.clone_into(&mut self.1.lock().unwrap());
    }

    fn failed(&self, why: String) {
        let _ = self.0.send(Said::Failed(why));
    }

    fn is_local(&self, _: Ipv4Addr) -> bool {
        false
    }
}

/// A gateway that is no member.
pub fn config(endpoints: Vec<Endpoint>, tls: Option<TlsConfig>, directory: &Directory) -> SwarmConfig {
    SwarmConfig {
        endpoints,
        engine: Endpoint::Unix(directory.path.join("none.sock")),
        tls,
        vips: vec![VIP.into()],
        member: None,
        network: None,
        overlay: OverlaySeed {
            vtep: Some(Ipv4Addr::new(192, 168, 77, 14)),
            address: Some((Ipv4Addr::new(10, 0, 0, 250), 24)),
            ..OverlaySeed::default()
        },
        more: Vec::new(),
    }
}

struct Scene {
    answers: [Answers; 2],
    said: mpsc::UnboundedReceiver<Said>,
    heard: Arc<Mutex<String>>,
    directory: Directory,
}

impl Scene {
    fn start() -> Scene {
        Scene::of(Directory::new(), |_| ())
    }

    /// On a member, with its own engine: a worker's.
    fn member() -> (Scene, Answers) {
        Scene::member_with(OverlaySeed::default())
    }

    fn member_with(seed: OverlaySeed) -> (Scene, Answers) {
        let directory = Directory::new();
        let engine = Answers::default();
        engine.set("/info", sample!("info-worker"));
        engine.set(INGRESS, sample!("network-ingress-worker-verbose"));
        let path = directory.path.join("engine.sock");
        engine.clone().serve(&path);
        let scene = Scene::of(directory, |config| {
            config.engine = Endpoint::Unix(path);
            config.member = Some(true);
            config.overlay = seed;
        });
        (scene, engine)
    }

    fn of(directory: Directory, change: impl FnOnce(&mut SwarmConfig)) -> Scene {
        let answers = [Answers::recorded(), Answers::recorded()];
        let paths = ["a.sock", "b.sock"].map(|name| directory.path.join(name));
        for (answers, path) in answers.iter().zip(&paths) {
            answers.clone().serve(path);
        }
        let mut config = config(paths.iter().cloned().map(Endpoint::Unix).collect(), None, &directory);
        change(&mut config);
        let (say, said) = mpsc::unbounded_channel();
        let heard = Arc::default();
        tokio::spawn(Provider::new(&config).unwrap().run(Arc::new(Listener(say, Arc::clone(&heard)))));
        Scene { answers, said, heard, directory }
    }

    async fn next(&mut self) -> Said {
        tokio::time::timeout(Duration::from_secs(20), self.said.recv()).await.unwrap().unwrap()
    }

    async fn wishes(&mut self) -> (Wishes, Place) {
        loop {
            if let Said::Follow(wishes, place) = self.next().await {
                return (wishes, place);
            }
        }
    }

    async fn failure(&mut self) -> String {
        loop {
            if let Said::Failed(why) = self.next().await {
                return why;
            }
        }
    }
}

fn weights(wishes: &Wishes) -> Vec<u16> {
    super::weights(wishes)
}

#[tokio::test]
async fn changes_are_followed() {
    let mut scene = Scene::start();
    let (wishes, place) = scene.wishes().await;
    assert_eq!(weights(&wishes), [1, 1]);
    assert_eq!((place.network.as_str(), place.member, place.vteps.len()), ("ingress", false, 3));
    assert!(place.endpoint.ends_with("a.sock"));
    let one_fails = sample!("tasks").replacen("\"running\"", "\"failed\"", 1);
    scene.answers[0].set("/tasks", &one_fails);
    // Newer engines count running tasks there: that is what is looked at most often.
    scene.answers[0].set("/services", &format!("{} ", sample!("services")));
    assert_eq!(weights(&scene.wishes().await.0), [1]);
}

/// Containers that join the manager's own bridges are events of networks, too.
#[tokio::test]
async fn only_the_swarms_events_are_asked_for() {
    let mut scene = Scene::start();
    scene.wishes().await;
    let asked = scene.answers[0].1.lock().unwrap().clone();
    let events: Vec<_> = asked.keys().filter(|uri| uri.starts_with("/events")).collect();
    let filters = r#"{"scope":["swarm"],"type":["service","node","network"]}"#;
    let encoded = ['"', ':', ',', '[', ']', '{', '}']
        .iter()
        .fold(filters.to_owned(), |text, letter| text.replace(*letter, &format!("%{:02X}", u32::from(*letter))));
    assert_eq!(events, [&format!("/events?filters={encoded}")]);
}

#[tokio::test]
async fn a_manager_that_refuses_is_left_for_the_next_and_nothing_is_lost() {
    let mut scene = Scene::start();
    scene.wishes().await;
    scene.answers[0].refuse();
    assert!(scene.failure().await.contains("not a swarm manager"));
    // The same from the other one is no news.
    until(|| scene.heard.lock().unwrap().ends_with("b.sock")).await;
    scene.answers[1].set("/services", &sample!("services").replace("my-web", "renamed"));
    let (wishes, place) = scene.wishes().await;
    assert_eq!(wishes.services[0].service.name, "renamed");
    assert!(place.endpoint.ends_with("b.sock"));
    scene.answers[1].refuse();
    for _ in 0..3 {
        assert!(matches!(scene.next().await, Said::Failed(_)));
    }
    assert!(!matches!(scene.said.try_recv(), Ok(Said::Follow(..))));
}

#[tokio::test]
async fn nonsense_and_sudden_emptiness_change_nothing() {
    let mut scene = Scene::start();
    scene.wishes().await;
    let (vanished, nonsense) = ("vanished", "not what Docker should answer");
    let cases = [
        ("/tasks", "[]", vanished),
        ("/tasks", "{\"message\": 1}", nonsense),
        ("/services", "[]", vanished),
        ("/services", "[{\"ID\": 7}]", nonsense),
        ("/nodes", "\u{0}", nonsense),
        ("/nodes", "[]", vanished),
    ];
    for (path, body, words) in cases {
        let kept = scene.answers[0].get(path).1;
        for answers in &scene.answers {
            answers.set(path, body);
            // To be noticed at once.
            if path != "/services" {
                answers.set("/services", &format!("{} ", sample!("services")));
            }
        }
        let Said::Failed(why) = scene.next().await else { panic!("{path} {body:?} was believed") };
        assert!(why.contains(words), "{path} {body:?}: {why}");
        for answers in &scene.answers {
            answers.set(path, &kept);
            answers.set("/services", sample!("services"));
        }
        while let Ok(Some(said)) = tokio::time::timeout(Duration::from_millis(700), scene.said.recv()).await {
            assert!(matches!(said, Said::Failed(_)), "{said:?}");
        }
    }
    drop(scene.directory);
}

/// Half an answer of a member's own engine: nothing moves until the swarm itself has news, and its place is still there then.
async fn keeps_its_place(scene: (Scene, Answers), spoil: impl FnOnce(&Answers), asked: &str) {
    let (mut scene, engine) = scene;
    let overlays = scene.wishes().await.0.overlays;
    assert_eq!((overlays[0].1.address, overlays[0].1.vtep.octets()[3]), (Ipv4Addr::new(10, 0, 0, 3), 12));
    spoil(&engine);
    engine.is_asked(asked).await;
    scene.answers[0].set("/services", &sample!("services").replace("my-web", "renamed"));
    loop {
        let (wishes, place) = scene.wishes().await;
        assert_eq!((&wishes.overlays, place.member), (&overlays, true), "{:?}", wishes.problems);
        if wishes.services[0].service.name == "renamed" {
            return;
        }
    }
}

#[tokio::test]
async fn a_member_whose_engine_shows_no_network_keeps_its_place() {
    let refuse = |engine: &Answers| engine.set_status(INGRESS, StatusCode::SERVICE_UNAVAILABLE);
    keeps_its_place(Scene::member(), refuse, INGRESS).await;
}

#[tokio::test]
async fn a_member_whose_engine_has_lost_its_manager_keeps_its_place() {
    let pending = sample!("info-worker").replace("\"active\"", "\"pending\"");
    assert_ne!(pending, sample!("info-worker"));
    keeps_its_place(Scene::member(), |engine| engine.set("/info", &pending), "/info").await;
}

#[tokio::test]
async fn a_member_has_no_place_yet_in_a_network_that_was_made_again() {
    let (mut scene, engine) = Scene::member();
    assert_eq!(scene.wishes().await.0.overlays.len(), 1);
    let again = |text: &str| text.replace("rp3zpkp4rkhej8jrp37h9jr6n", "again");
    scene.answers[0].set("/networks/again", &again(sample!("network-ingress-manager-verbose")));
    scene.answers[0].set("/networks", &again(sample!("networks")));
    let (wishes, place) = scene.wishes().await;
    assert_eq!((&wishes.overlays[..], place.member), (&[][..], true));
    engine.set("/networks/again", &again(sample!("network-ingress-worker-verbose")).replace("10.0.0.3", "10.0.0.7"));
    let (wishes, _) = scene.wishes().await;
    assert_eq!(wishes.overlays[0].1.address, Ipv4Addr::new(10, 0, 0, 7));
}

#[tokio::test]
async fn a_source_address_without_a_place_is_said() {
    let outside = Ipv4Addr::new(10, 9, 0, 4);
    let (mut scene, _engine) = Scene::member_with(OverlaySeed { snat: vec![outside], ..OverlaySeed::default() });
    let (wishes, _) = scene.wishes().await;
    assert_eq!(wishes.overlays[0].1.snat, [] as [Ipv4Addr; 0]);
    assert!(wishes.problems.iter().any(|why| why.contains("`10.9.0.4` is outside the overlay's subnet")), "{wishes:?}");
}

#[tokio::test]
async fn who_has_left_the_swarm_has_no_place() {
    let (mut scene, engine) = Scene::member();
    assert_eq!(scene.wishes().await.0.overlays.len(), 1);
    engine.set("/info", &sample!("info-worker").replace("\"active\"", "\"inactive\""));
    let (wishes, place) = scene.wishes().await;
    assert_eq!((&wishes.overlays[..], place.member), (&[][..], false));
}

#[tokio::test]
async fn one_odd_element_of_each_list_costs_nobody_else() {
    let mut scene = Scene::start();
    let before = scene.wishes().await.0;
    for (path, sample, odd) in [
        ("/services", sample!("services"), "[{\"ID\": \"s\", \"Spec\": {\"Name\": 1}},"),
        ("/tasks", sample!("tasks"), "[{\"ID\": \"t\", \"NetworksAttachments\": 2},"),
        ("/nodes", sample!("nodes"), "[{\"ID\": \"n\", \"Status\": 3},"),
        ("/networks", sample!("networks"), "[{\"Id\": \"o\", \"Name\": \"odd\", \"Options\": 4},"),
    ] {
        scene.answers[0].set(path, &sample.replacen('[', odd, 1));
    }
    let said = |wishes: &Wishes| wishes.problems.iter().map(|why| why[..why.find(':').unwrap()].to_owned()).collect();
    let mut all: Vec<String> = Vec::new();
    while all.len() < 4 {
        let (wishes, _) = scene.wishes().await;
        assert_eq!((&wishes.services, &wishes.overlays), (&before.services, &before.overlays));
        all = said(&wishes);
    }
    assert_eq!(all, ["network odd", "node n", "service s", "task t"]);
}
