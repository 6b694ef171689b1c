//! Writes answers byte by byte, so that a test says how each name is compressed.

use crate::support::wire;

/// How a name is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Label by label, as small answers often are.
    Whole,
    /// As a pointer to the longest suffix that was written before, after at least this many labels.
    Compressed { after: usize },
}

/// The shortest form, which most servers write.
pub(crate) const SHORT: Form = Form::Compressed { after: 0 };

/// A message in the making.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Names with all their suffixes, and where they begin. Compared with case, as some servers do.
    written: Vec<(Vec<u8>, usize)>,
}

impl Writer {
    /// An answer to a question about the addresses of `name`, with transaction 0x1234.
    pub(crate) fn answer(name: &str) -> Self {
        Self::typed(name, 1)
    }

    pub(crate) fn typed(name: &str, kind: u16) -> Self {
        let bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        let mut writer = Self { bytes, written: Vec::new() };
        writer.name(name, Form::Whole);
        writer.bytes.extend(kind.to_be_bytes());
        writer.bytes.extend([0, 1]);
        writer
    }

    /// Where the next byte goes.
    pub(crate) fn here(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn name(&mut self, name: &str, form: Form) {
        let labels = wire(name);
        let mut at = 0;
        let mut count = 0;
        loop {
            let rest = &labels[at..];
            let known = self.written.iter().find(|(suffix, _)| suffix == rest);
            if let (Form::Compressed { after }, Some((_, offset))) = (form, known)
                && count >= after
                && rest.len() > 1
            {
                let pointer = 0xc000 | u16::try_from(*offset).expect("a short message");
                self.bytes.extend(pointer.to_be_bytes());
                return;
            }
            self.written.push((rest.to_vec(), self.bytes.len()));
            let end = at + 1 + usize::from(labels[at]);
            self.bytes.extend(&labels[at..end]);
            if labels[at] == 0 {
                return;
            }
            at = end;
            count += 1;
        }
    }

    /// A record of class IN whose data `data` writes.
    pub(crate) fn record(
        &mut self,
        owner: (&str, Form),
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Self),
    ) {
        self.name(owner.0, owner.1);
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend([0, 1]);
        self.bytes.extend(ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend([0, 0]);
        data(self);
        let length = self.bytes.len() - length_at - 2;
        let length = u16::try_from(length).expect("a short message");
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        let count = u16::from_be_bytes([self.bytes[6], self.bytes[7]]) + 1;
        self.bytes[6..8].copy_from_slice(&count.to_be_bytes());
    }

    pub(crate) fn address(&mut self, owner: (&str, Form), address: &str) {
        match address.parse().expect("an address") {
            std::net::IpAddr::V4(v4) => self.record(owner, 1, 60, |it| it.raw(&v4.octets())),
            std::net::IpAddr::V6(v6) => self.record(owner, 28, 60, |it| it.raw(&v6.octets())),
        }
    }

    pub(crate) fn alias(&mut self, owner: (&str, Form), target: (&str, Form)) {
        self.record(owner, 5, 60, |it| it.name(target.0, target.1));
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
