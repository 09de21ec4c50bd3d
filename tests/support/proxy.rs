//! A proxy that opens a way by `CONNECT`, or answers something else.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Listens until it is dropped. Whatever it is asked for, it leads to one address.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    heads: Vec<String>,
    refusal: Option<&'static str>,
    refused_hosts: Vec<(&'static str, &'static str)>,
    closed: bool,
}

impl Proxy {
    /// One on a port of its own that leads to `to`.
    pub fn to(to: SocketAddr) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), to)
    }

    /// One at `address`.
    pub fn at(address: SocketAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { to, state: Mutex::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.lock().closed {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serving = Arc::clone(&serving);
                // Who breaks a connection fails no test by it.
                thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers this status line from now on; `None`: opens the way.
    pub fn refuse(&self, refusal: Option<&'static str>) {
        self.shared.lock().refusal = refusal;
    }

    /// Answers this status line to whoever asks for `host`.
    pub fn refuse_host(&self, host: &'static str, refusal: &'static str) {
        self.shared.lock().refused_hosts.push((host, refusal));
    }

    /// What has been asked of it, each head whole.
    pub fn heads(&self) -> Vec<String> {
        self.shared.lock().heads.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let refusal = {
            let mut state = self.lock();
            state.heads.push(String::from_utf8_lossy(&head).into_owned());
            let head = state.heads.last().expect("it was put there");
            let of_host =
                state.refused_hosts.iter().find(|(host, _)| head.contains(host)).map(|(_, refusal)| *refusal);
            of_host.or(state.refusal)
        };
        if let Some(refusal) = refusal {
            return write!(stream, "HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
        }
        let peer = TcpStream::connect(self.to)?;
        write!(stream, "HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from, mut onto) = (stream.try_clone()?, peer.try_clone()?);
        thread::spawn(move || {
            let copied = io::copy(&mut from, &mut onto);
            onto.shutdown(Shutdown::Write).and(copied)
        });
        let (mut from, mut onto) = (peer, stream);
        io::copy(&mut from, &mut onto)?;
        onto.shutdown(Shutdown::Both)
    }
}
