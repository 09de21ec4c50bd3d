//! A stream that counts what it receives: whether a byte of an answer came back is then a fact, not a guess
//! from an error. And it takes no more than it is allowed to: who sends interim answers without end, each of them small
//! enough, would else be read as fast as it can send for as long as the attempt may last.

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

/// Head and body of a request of so many bytes are written as one piece: to copy them costs less than it costs the kernel to
/// gather them.
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
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if length <= TOGETHER {
            let mut together = Vec::with_capacity(length);
            bufs.iter().for_each(|buf| together.extend_from_slice(buf));
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
