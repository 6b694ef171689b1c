//! Bytes between client and destination: counted, with back-pressure, and cut off when they stand
//! still.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, split},
    time::{Instant, sleep},
};

/// Each direction of a connection begins with a buffer of this size. What the other side does not take
/// waits in it, and then in the kernel, so who sends is slowed down.
const BUFFER_BYTES: usize = 16 * 1024;
/// The most it grows to, where much is sent at once: a long stream then takes fewer calls.
const MOST_BYTES: usize = 256 * 1024;

/// What passed the client's side of one connection, and when something last did.
#[derive(Debug)]
pub struct Traffic {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    /// Bytes from the client.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes to the client.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until nothing has passed for `limit`.
    pub async fn stands_still(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let quiet = self.start.elapsed().saturating_sub(last);
            match limit.checked_sub(quiet) {
                Some(left) if !left.is_zero() => sleep(left).await,
                _ => return,
            }
        }
    }

    fn note(&self, count: &AtomicU64, bytes: usize) {
        count.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

/// The client's side of a connection, which counts.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    pub fn new(inner: S, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic }
    }
}

/// Carries bytes both ways until both sides have ended. A side that has said all is told on, and
/// the other may go on speaking.
pub async fn carry<A, B>(client: &mut A, destination: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (from_client, to_client) = split(client);
    let (from_destination, to_destination) = split(destination);
    tokio::try_join!(pour(from_client, to_destination), pour(from_destination, to_client))?;
    Ok(())
}

/// One direction, to its end.
async fn pour<R, W>(mut from: R, mut to: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while from.read_buf(&mut buffer).await? > 0 {
        to.write_all(&buffer).await?;
        to.flush().await?;
        let fitting = fitting_bytes(buffer.capacity(), buffer.len());
        if fitting == buffer.capacity() {
            buffer.clear();
        } else {
            buffer = Vec::with_capacity(fitting);
        }
    }
    to.shutdown().await
}

/// The size of the next buffer, after one of this size was filled so far. Who has gone quiet keeps no
/// large one.
const fn fitting_bytes(size: usize, filled: usize) -> usize {
    if filled >= size && size < MOST_BYTES {
        size * 2
    } else if filled < size / 4 && size > BUFFER_BYTES {
        BUFFER_BYTES
    } else {
        size
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        if read > 0 {
            self.traffic.note(&self.traffic.sent, read);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = result {
            self.traffic.note(&self.traffic.received, written);
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        if let Poll::Ready(Ok(written)) = result {
            self.traffic.note(&self.traffic.received, written);
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{Instant, advance},
    };

    use super::{BUFFER_BYTES, Counted, MOST_BYTES, Traffic, carry, fitting_bytes};

    #[tokio::test]
    async fn a_side_that_ended_still_hears_the_other() {
        let (client, near) = duplex(64);
        let (far, server) = duplex(64);
        let traffic = Traffic::new();
        let mut near = Counted::new(near, std::sync::Arc::clone(&traffic));
        let mut far = far;
        let talk = async move {
            let (mut client, mut server) = (client, server);
            client.write_all(b"question").await.expect("written");
            client.shutdown().await.expect("half closed");
            let mut question = String::new();
            server.read_to_string(&mut question).await.expect("read to its end");
            server.write_all(b"a long answer").await.expect("written");
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read to its end");
            (question, answer)
        };
        let (carried, (question, answer)) = tokio::join!(carry(&mut near, &mut far), talk);
        carried.expect("no error");
        assert_eq!((question.as_str(), answer.as_str()), ("question", "a long answer"));
        assert_eq!((traffic.sent(), traffic.received()), (8, 13));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_slows_the_other_down() {
        const PIPE: usize = 64;
        let (client, mut near) = duplex(PIPE);
        let (mut far, mut server) = duplex(PIPE);
        let mut taken = 0;
        let pour = async {
            loop {
                taken += server.write(&[0; PIPE]).await.expect("open");
            }
        };
        // With the clock at rest, the time passes only when nothing can move any more.
        let all = async { tokio::join!(carry(&mut near, &mut far), pour) };
        let stuck = tokio::time::timeout(Duration::from_secs(1), all).await;
        assert!(stuck.is_err(), "neither side has ended");
        assert!(taken <= BUFFER_BYTES + 3 * PIPE, "{taken} bytes were taken in");
        assert!(taken >= PIPE, "{taken} bytes were taken in");
        drop(client);
    }

    #[tokio::test]
    async fn much_at_once_arrives_whole_and_in_order() {
        const BYTES: usize = 40 * MOST_BYTES + 17;
        let (client, mut near) = duplex(2 * MOST_BYTES);
        let (mut far, server) = duplex(2 * MOST_BYTES);
        let all: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
        let talk = async {
            let (mut client, mut server) = (client, server);
            let send = async {
                server.write_all(&all).await.expect("written");
                server.shutdown().await.expect("half closed");
            };
            let mut received = Vec::new();
            let receive = async {
                client.read_to_end(&mut received).await.expect("read to its end");
                client.shutdown().await.expect("closed");
            };
            tokio::join!(send, receive);
            received
        };
        let (carried, received) = tokio::join!(carry(&mut near, &mut far), talk);
        carried.expect("no error");
        assert!(received == all, "{} of {BYTES} bytes", received.len());
    }

    #[test]
    fn buffers_grow_with_what_comes_and_are_given_back() {
        for (size, filled, next) in [
            (BUFFER_BYTES, 1, BUFFER_BYTES),
            (BUFFER_BYTES, BUFFER_BYTES - 1, BUFFER_BYTES),
            (BUFFER_BYTES, BUFFER_BYTES, 2 * BUFFER_BYTES),
            (2 * BUFFER_BYTES, BUFFER_BYTES, 2 * BUFFER_BYTES),
            (MOST_BYTES, MOST_BYTES, MOST_BYTES),
            (MOST_BYTES, MOST_BYTES / 4 - 1, BUFFER_BYTES),
        ] {
            assert_eq!(fitting_bytes(size, filled), next, "{size} {filled}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_does_not_stand_still() {
        let limit = Duration::from_secs(10);
        let traffic = Traffic::new();
        let start = Instant::now();
        advance(Duration::from_secs(7)).await;
        traffic.note(&traffic.sent, 1);
        traffic.stands_still(limit).await;
        assert_eq!(start.elapsed().as_secs(), 17);
    }
}
