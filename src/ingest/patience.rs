//! A connection whose peer must take what is written to it: one that does not read is hung up on.
//!
//! hyper has limits for what it reads, none for what it writes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// An I/O object of which a write that stands still for a time fails with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Patient<T> {
    io: T,
    patience: Duration,
    /// Runs while a write stands still.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    /// `io`, whose peer may let a write stand still for `patience`.
    pub const fn new(io: T, patience: Duration) -> Self {
        Self { io, patience, alarm: None }
    }

    /// Passes on what a write came to, unless it stands still for too long.
    fn judge<R>(&mut self, wrote: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if wrote.is_ready() {
            self.alarm = None;
            return wrote;
        }
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.judge(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_reads_gets_all_and_one_that_does_not_is_hung_up_on() {
        let (ours, mut theirs) = duplex(16);
        let mut ours = Patient::new(ours, Duration::from_millis(20));
        let reader = tokio::spawn(async move {
            let mut all = vec![0; 1_000];
            theirs.read_exact(&mut all).await.map(|_| theirs)
        });
        ours.write_all(&[7; 1_000]).await.expect("it is read");
        let _theirs = reader.await.expect("the reader").expect("all of it");
        let error = ours.write_all(&[7; 1_000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
