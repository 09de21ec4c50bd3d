//! The receiver of webhooks: a helper, as lean as can be, so that it takes little from the daemon on the same cores.
//!
//! It listens on a port for each delay that it is given, keeps connections open, looks at nothing but where a request
//! ends, and answers 200 without a body when the port's delay is over.

use std::{
    io::{self, BufRead as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime,
    time::sleep,
};

use crate::{Result, helper::Helper, process::Usage};

/// The helper's role.
pub(crate) const ROLE: &str = "receiver";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The helper, as its parent sees it.
pub(crate) struct Receiver {
    helper: Helper,
    ports: Vec<u16>,
}

impl Receiver {
    /// Starts one with a port for each of these delays.
    pub(crate) fn start(delays: &[Duration]) -> Result<Self> {
        let delays = delays.iter().map(|delay| delay.as_micros().to_string());
        let role: Vec<String> = [ROLE.to_owned()].into_iter().chain(delays).collect();
        let mut helper = Helper::start(&role)?;
        let ports = helper.hear("ports")?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { helper, ports })
    }

    /// The port of delay `index`.
    pub(crate) fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// Says how many requests each port will get from now on.
    pub(crate) fn expect(&mut self, counts: &[u64]) -> Result<()> {
        let counts: Vec<_> = counts.iter().map(u64::to_string).collect();
        self.helper.say(&counts.join(" "))?;
        self.helper.hear("expecting").map(drop)
    }

    /// Waits until some port has got all of its requests; which one.
    pub(crate) fn done(&mut self) -> Result<usize> {
        Ok(self.helper.hear("done")?.parse()?)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        self.helper.usage()
    }
}

/// A port of the helper.
struct Port {
    index: usize,
    delay: Duration,
    /// Requests that are still expected.
    left: AtomicU64,
}

/// The helper's life.
pub(crate) fn run(delays: &[String]) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut ports, mut numbers) = (Vec::new(), Vec::new());
        for (index, delay) in delays.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            numbers.push(listener.local_addr()?.port().to_string());
            let delay = Duration::from_micros(delay.parse()?);
            let port = Arc::new(Port { index, delay, left: AtomicU64::new(0) });
            tokio::spawn(accept(listener, Arc::clone(&port)));
            ports.push(port);
        }
        say(&format!("ports {}", numbers.join(" ")))?;
        thread::spawn(move || obey(&ports));
        std::future::pending::<Result<()>>().await
    })
}

/// Does what the parent says, and ends with it.
fn obey(ports: &[Arc<Port>]) {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap_or_default();
        for (port, count) in ports.iter().zip(line.split(' ')) {
            port.left.store(count.parse().unwrap_or(0), Relaxed);
        }
        if say("expecting").is_err() {
            break;
        }
    }
    std::process::exit(0);
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

async fn accept(listener: TcpListener, port: Arc<Port>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&port)));
    }
}

async fn serve(mut stream: TcpStream, port: Arc<Port>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        while let Some(length) = request_length(&buffer).filter(|length| *length <= buffer.len()) {
            buffer.advance(length);
            if !port.delay.is_zero() {
                sleep(port.delay).await;
            }
            stream.write_all(ANSWER).await?;
            if port.left.fetch_sub(1, Relaxed) == 1 {
                say(&format!("done {}", port.index))?;
            }
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The bytes of the request at the beginning, once its head is there.
pub(crate) fn request_length(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let at = bytes[..head].windows(NAME.len()).position(|name| name == NAME)? + NAME.len();
    let digits = bytes[at..head + 2].split(|byte| *byte == b'\r').next()?;
    let body: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(head + 4 + body)
}
