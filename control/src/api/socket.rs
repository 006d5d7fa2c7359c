//! The socket file: made so that only its owner can use it, never taken from a gateway that lives, gone at exit.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::gateway::StartError;

const BACKLOG: u32 = 128;

/// The API's socket. Dropped, it takes its file away, and the directory if it made that.
#[derive(Debug)]
pub struct Listener {
    /// Where requests come in.
    pub inner: UnixListener,
    path: PathBuf,
    /// Device and inode: somebody else's file under our path stays.
    identity: (u64, u64),
    made_directory: bool,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Nobody is left to tell if it fails, and a stale file does not harm the next start.
            let _ = fs::remove_file(&self.path);
        }
        if let (true, Some(directory)) = (self.made_directory, self.path.parent()) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the socket. A file that a dead gateway has left behind is taken away first.
///
/// # Errors
/// When a gateway answers there, when something else is there, or when the place can't be written.
pub fn bind(path: &Path) -> Result<Listener, StartError> {
    let made_directory = make_directory(path)?;
    clear(path)?;
    let failed = |error: io::Error| place_error(path, &error);
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    // Nobody can connect before listen(), so there is no moment in which others could.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let inner = socket.listen(BACKLOG).map_err(failed)?;
    let identity = identity(path).map_err(failed)?;
    Ok(Listener { inner, path: path.to_owned(), identity, made_directory })
}

fn make_directory(path: &Path) -> Result<bool, StartError> {
    let Some(directory) = path.parent().filter(|directory| !directory.exists()) else { return Ok(false) };
    fs::create_dir_all(directory).map_err(|error| place_error(path, &error))?;
    Ok(true)
}

/// Makes way for the socket, if what is there is only a leftover.
fn clear(path: &Path) -> Result<(), StartError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        let message = format!("{} is there already and is not a socket", path.display());
        return Err(error(message, "remove it, or choose another path"));
    }
    match StdUnixStream::connect(path) {
        Ok(stream) => Err(in_use(path, stream)),
        Err(refused) if refused.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!("removed the stale socket {}", path.display());
            fs::remove_file(path).map_err(|error| place_error(path, &error))
        }
        Err(other) => Err(place_error(path, &other)),
    }
}

fn in_use(path: &Path, stream: StdUnixStream) -> StartError {
    let who = match peer_pid(stream) {
        Some(pid) => format!("another sluicegate (pid {pid})"),
        None => "another program".to_owned(),
    };
    error(format!("{who} serves {}", path.display()), "stop it, or give this gateway another gateway.api")
}

fn peer_pid(stream: StdUnixStream) -> Option<i32> {
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()?.peer_cred().ok()?.pid()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn place_error(path: &Path, cause: &io::Error) -> StartError {
    let hint = match cause.kind() {
        ErrorKind::PermissionDenied => "run as root, or choose a path that this user may write",
        ErrorKind::AddrInUse => "another program made it just now: is a second gateway starting?",
        _ => "choose another path",
    };
    error(format!("cannot serve {}: {cause}", path.display()), hint)
}

fn error(message: String, hint: &str) -> StartError {
    StartError::new("gateway.api", message, hint)
}
