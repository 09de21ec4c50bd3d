//! A stream that counts what it receives: whether a byte of an answer came back is then a fact, not a guess
//! from an error. And it takes no more than it is allowed to: who sends interim answers without end, each of them small
//! enough, would else be read as fast as it can send for as long as the attempt may last. What is written in small pieces goes
//! out as one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Head and body of a request of so many bytes at most are written as one piece: to copy them costs less than it costs what is
/// below, the kernel or TLS, to gather them.
const TOGETHER: usize = 4 << 10;

/// How many bytes a [`Counted`] stream has received so far, and may receive.
#[derive(Clone, Debug)]
pub(super) struct Received(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    bytes: AtomicU64,
    allowed: AtomicU64,
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Fails reads once more than `more` further bytes have come.
    pub(super) fn allow(&self, more: u64) {
        self.0.allowed.store(self.bytes().saturating_add(more), Ordering::Relaxed);
    }

    /// Takes note of `count` further bytes; an error where they are too many.
    fn add(&self, count: u64) -> io::Result<()> {
        let bytes = self.0.bytes.fetch_add(count, Ordering::Relaxed) + count;
        if bytes > self.0.allowed.load(Ordering::Relaxed) {
            return Err(io::Error::other("too much came before the answer's headers were complete"));
        }
        Ok(())
    }
}

/// `inner`, counted. Above TLS, so that session tickets and alerts are not taken for an answer.
pub(super) struct Counted<T> {
    inner: T,
    received: Received,
}

impl<T> Counted<T> {
    pub(super) fn new(inner: T) -> (Self, Received) {
        let counts = Counts { bytes: AtomicU64::new(0), allowed: AtomicU64::new(u64::MAX) };
        let received = Received(Arc::new(counts));
        (Self { inner, received: received.clone() }, received)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let count = (buf.filled().len() - before) as u64;
        Poll::Ready(result.and(self.received.add(count)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = bufs {
            return Pin::new(&mut self.inner).poll_write(cx, one);
        }
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if length <= TOGETHER {
            let mut together = Vec::with_capacity(length);
            for buf in bufs {
                together.extend_from_slice(buf);
            }
            return Pin::new(&mut self.inner).poll_write(cx, &together);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::IoSlice};

    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    /// Whatever the pieces are, and however much of them is taken at once.
    #[tokio::test]
    async fn pieces_arrive_as_they_are() {
        for (first, second, room) in [
            (0, 0, 64),
            (0, 5, 64),
            (300, 1000, 7),
            (300, 1000, 1 << 20),
            (96, TOGETHER - 97, 1 << 20),
            (96, TOGETHER - 96, 1000),
            (96, TOGETHER - 95, 1 << 20),
            (TOGETHER, 3 * TOGETHER, 4096),
        ] {
            let bytes: Vec<u8> = (0..first + second).map(|n| u8::try_from(n % 251).expect("small")).collect();
            let (ours, mut theirs) = duplex(room);
            let write = async {
                let (mut stream, _received) = Counted::new(ours);
                let mut done = 0;
                while done < bytes.len() {
                    let (head, body) = bytes.split_at(first.max(done));
                    let pieces = [IoSlice::new(&head[done..]), IoSlice::new(body)];
                    let written = poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &pieces)).await;
                    done += written.expect("somebody reads");
                }
            };
            let mut read = Vec::new();
            let ((), all) = tokio::join!(write, theirs.read_to_end(&mut read));
            assert_eq!(all.expect("it is read"), bytes.len());
            assert!(read == bytes, "{first} and {second} bytes with room for {room}");
        }
    }
}
