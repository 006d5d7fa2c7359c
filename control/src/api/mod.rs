//! HTTP and JSON over the unix socket.
