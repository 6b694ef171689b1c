//! A `ClientHello` in one piece, in every two pieces, over several records, and hostile bytes.

use proptest::prelude::*;

use super::{Hello, NoHello, hello};
use crate::gateway::{host::Host, refusal::Cause};

const LIMIT: usize = 16_384;

/// A `ClientHello` in one record (RFC 8446 §4.1.2), with this server name.
pub(in crate::gateway) fn client_hello(name: Option<&[u8]>) -> Vec<u8> {
    record(&message(name))
}

fn message(name: Option<&[u8]>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        // RFC 6066 §3: a list of one name of type host_name.
        let entry = [&[0][..], &sized(name)].concat();
        extensions.extend(extension(0, &sized(&entry)));
    }
    // supported_versions, supported_groups, signature_algorithms, an empty key_share.
    extensions.extend(extension(43, &[2, 3, 4]));
    extensions.extend(extension(10, &[0, 2, 0, 29]));
    extensions.extend(extension(13, &[0, 2, 4, 3]));
    extensions.extend(extension(51, &[0, 0]));
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 1]);
    body.extend([1, 0]);
    body.extend(sized(&extensions));
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    [&length[..], content].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &sized(content)].concat()
}

fn name(text: &str) -> Host {
    Host::parse(text).expect("a host")
}

/// Hears pieces, each of which is one read, and the end after them.
#[expect(clippy::unwrap_in_result, reason = "a test stops at what it did not expect")]
fn hear(pieces: &[&[u8]], limit: usize) -> Result<Hello, NoHello> {
    let mut stream = tokio_test_stream(pieces);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(hello(&mut stream, limit))
}

/// A stream that yields each piece in a read of its own.
fn tokio_test_stream(pieces: &[&[u8]]) -> Pieces {
    Pieces(pieces.iter().rev().map(|piece| piece.to_vec()).collect())
}

struct Pieces(Vec<Vec<u8>>);

impl tokio::io::AsyncRead for Pieces {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some(mut piece) = self.0.pop() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push(rest);
            }
        }
        std::task::Poll::Ready(Ok(()))
    }
}

#[test]
fn the_server_name_is_read_and_no_byte_is_lost() {
    let bytes = client_hello(Some(b"WWW.Example.com"));
    let heard = hear(&[&bytes], LIMIT).expect("a hello");
    assert_eq!(heard, Hello { name: name("www.example.com"), bytes: bytes.clone() });
    // What follows it, as early data does, goes on too.
    let more = [&bytes[..], b"\x14\x03\x03\x00\x01\x01"].concat();
    assert_eq!(hear(&[&more], LIMIT).expect("a hello").bytes, more);
}

#[test]
fn pieces_of_any_size() {
    let bytes = client_hello(Some(b"www.example.com"));
    for cut in 1..bytes.len() {
        let heard = hear(&[&bytes[..cut], &bytes[cut..]], LIMIT).expect("a hello");
        assert_eq!((heard.name, heard.bytes.len()), (name("www.example.com"), bytes.len()));
    }
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(hear(&each, LIMIT).expect("a hello").name, name("www.example.com"));
}

#[test]
fn several_records() {
    let message = message(Some(b"www.example.com"));
    for size in [1, 3, 50, 100] {
        let bytes: Vec<u8> = message.chunks(size).flat_map(record).collect();
        let heard = hear(&[&bytes], LIMIT).expect("a hello");
        assert_eq!(heard.name, name("www.example.com"), "records of {size} bytes");
        assert_eq!(heard.bytes, bytes);
    }
}

#[test]
fn no_usable_name_is_no_name() {
    let cause = |bytes: &[u8]| hear(&[bytes], LIMIT).expect_err("no hello").cause;
    assert_eq!(cause(&client_hello(None)), Cause::NoName);
    // RFC 6066 §3: literal addresses are no host names.
    assert_eq!(cause(&client_hello(Some(b"192.0.2.1"))), Cause::NoName);
    for name in [&b"a..b"[..], b"", b"a b.example.com", b"a\0.example.com", b"*.example.com"] {
        let cause = cause(&client_hello(Some(name)));
        assert!(matches!(cause, Cause::NoName | Cause::Malformed), "{name:?} {cause:?}");
    }
}

#[test]
fn what_is_no_client_hello_is_told_so() {
    let heard = hear(&[b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"], LIMIT);
    let NoHello { cause, alert } = heard.expect_err("no hello");
    assert_eq!(cause, Cause::Malformed);
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    assert_eq!(hear(&[], LIMIT).expect_err("nothing").cause, Cause::Gone);
    let bytes = client_hello(Some(b"www.example.com"));
    assert_eq!(hear(&[&bytes[..40]], LIMIT).expect_err("a part").cause, Cause::Gone);
}

#[test]
fn a_client_that_never_comes_to_an_end_is_cut_off() {
    // A handshake message that says it has 16 MB, in records of one byte.
    let mut bytes = record(&[1, 0xff, 0xff, 0xff]);
    for _ in 0..100_000 {
        bytes.extend(record(&[0]));
    }
    let mut stream = tokio_test_stream(&[&bytes]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let heard = runtime.block_on(hello(&mut stream, LIMIT));
    assert_eq!(heard.expect_err("no hello").cause, Cause::Malformed);
    let left: usize = stream.0.iter().map(Vec::len).sum();
    assert!(bytes.len() - left <= LIMIT + super::STEP_BYTES * 2, "{left} bytes were left alone");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _outcome = hear(&[&bytes], LIMIT);
    }

    #[test]
    fn no_damage_makes_it_panic_or_invent_a_name(
        at in 0..200_usize,
        with in any::<u8>(),
        cut in 0..200_usize,
    ) {
        let mut bytes = client_hello(Some(b"www.example.com"));
        let whole = bytes.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        let cut = cut.min(bytes.len());
        if let Ok(heard) = hear(&[&bytes[..cut], &bytes[cut..]], LIMIT) {
            // Only a byte of the name itself, or of its length, makes another name of it. A shorter
            // one is followed by an entry of another type then, which is passed over (RFC 6066 §3).
            let text = heard.name.to_string();
            let start = whole.windows(4).position(|it| it == b"www.").expect("the name");
            let is_in_name = (start - 2..start + 15).contains(&at);
            prop_assert!(is_in_name || text == "www.example.com", "{text} by {with} at {at}");
            prop_assert_eq!(heard.bytes, bytes);
        }
    }
}
