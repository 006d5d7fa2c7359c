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

/// What a made-up manager answers, by path.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<BTreeMap<&'static str, (StatusCode, String)>>>);

impl Answers {
    pub fn recorded() -> Answers {
        let answers = Answers::default();
        answers.set("/services", sample!("services"));
        answers.set("/tasks", sample!("tasks"));
        answers.set("/nodes", sample!("nodes"));
        answers.set("/networks", sample!("networks"));
        answers.set("/networks/rp3zpkp4rkhej8jrp37h9jr6n", sample!("network-ingress-manager-verbose"));
        answers.set("/swarm", sample!("swarm"));
        answers.set("/info", "{}");
        answers
    }

    pub fn set(&self, path: &'static str, body: &str) {
        self.0.lock().unwrap().insert(path, (StatusCode::OK, body.to_owned()));
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
            let answer = self.answer(request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        // How it ends is the client's affair.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, path: &str) -> Response<BoxBody<Bytes, Infallible>> {
        if path == "/events" {
            let endless = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            return Response::new(BoxBody::new(StreamBody::new(endless)));
        }
        let (status, body) = self.get(path);
        let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
        *response.status_mut() = status;
        response
    }
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
        let directory = Directory::new();
        let answers = [Answers::recorded(), Answers::recorded()];
        let paths = ["a.sock", "b.sock"].map(|name| directory.path.join(name));
        for (answers, path) in answers.iter().zip(&paths) {
            answers.clone().serve(path);
        }
        let config = config(paths.iter().cloned().map(Endpoint::Unix).collect(), None, &directory);
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

#[tokio::test]
async fn a_manager_that_refuses_is_left_for_the_next_and_nothing_is_lost() {
    let mut scene = Scene::start();
    scene.wishes().await;
    scene.answers[0].refuse();
    assert!(scene.failure().await.contains("not a swarm manager"));
    // The same from the other one is no news.
    let other_is_heard = async {
        while !scene.heard.lock().unwrap().ends_with("b.sock") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), other_is_heard).await.unwrap();
    scene.answers[1].set("/services", &sample!("services").replace("my-web", "renamed"));
    let (wishes, place) = scene.wishes().await;
    assert_eq!(wishes.services[0].service.name, "renamed");
    assert!(place.endpoint.ends_with("b.sock"));
    scene.answers[1].refuse();
    for _ in 0..3 {
        scene.failure().await;
    }
    assert!(scene.said.try_recv().is_err() || !matches!(scene.next().await, Said::Follow(..)));
}

#[tokio::test]
async fn nonsense_and_sudden_emptiness_change_nothing() {
    let mut scene = Scene::start();
    scene.wishes().await;
    for (path, body) in [("/tasks", "[]"), ("/tasks", "{\"message\": 1}"), ("/services", "[]"), ("/nodes", "\u{0}")] {
        let kept = scene.answers[0].get(path).1;
        for answers in &scene.answers {
            answers.set(path, body);
            // To be noticed at once.
            if path != "/services" {
                answers.set("/services", &format!("{} ", sample!("services")));
            }
        }
        let Said::Failed(why) = scene.next().await else { panic!("{path} {body:?} was believed") };
        assert!(why.contains("vanished") || why.contains("not what Docker should answer"), "{why}");
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
