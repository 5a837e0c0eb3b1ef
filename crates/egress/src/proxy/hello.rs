//! The server name in the first message of TLS (`ClientHello`, RFC 8446 §4.1.2; `server_name`, RFC 6066 §3).
//!
//! Invariant: a message that can be read in two ways is refused. An encrypted ClientHello is refused too, since it hides the true name.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXT_SERVER_NAME: u16 = 0;
const EXT_ENCRYPTED_HELLO: u16 = 0xfe0d;
const HOST_NAME: u8 = 0;
/// Largest record, bytes (RFC 8446 §5.1).
const MAX_RECORD_BYTES: usize = 16 * 1024;

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerName {
    /// More bytes are needed.
    Incomplete,
    /// This name.
    Is(String),
    /// The tunnel must be closed.
    Refused(&'static str),
}

/// Reads the name from the bytes a client has sent so far.
pub(super) fn server_name(bytes: &[u8]) -> ServerName {
    let message = match handshake(bytes) {
        Ok(Some(message)) => message,
        Ok(None) => return ServerName::Incomplete,
        Err(why) => return ServerName::Refused(why),
    };
    match read(&message) {
        Some(Ok(name)) => ServerName::Is(name),
        Some(Err(why)) => ServerName::Refused(why),
        None => ServerName::Refused("its TLS greeting is damaged"),
    }
}

/// Joins records until the whole first handshake message is there; gives its body.
fn handshake(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut message = Vec::new();
    loop {
        if let Some(head) = message.get(..4) {
            let head: &[u8] = head;
            if head[0] != CLIENT_HELLO {
                return Err("it does not begin with a greeting of TLS");
            }
            let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
            if length > super::MAX_HEAD_BYTES {
                return Err("its TLS greeting is too large");
            }
            if message.len() >= 4 + length {
                return Ok(Some(message[4..4 + length].to_vec()));
            }
        }
        match bytes.first() {
            None => return Ok(None),
            Some(kind) if *kind != HANDSHAKE => return Err("it carries something other than TLS"),
            Some(_) => {}
        }
        let Some(head) = bytes.get(..5) else { return Ok(None) };
        let length = usize::from(head[3]) << 8 | usize::from(head[4]);
        if head[1] != 3 || length == 0 || length > MAX_RECORD_BYTES {
            return Err("it carries something other than TLS");
        }
        let Some(payload) = bytes.get(5..5 + length) else { return Ok(None) };
        message.extend_from_slice(payload);
        bytes = &bytes[5 + length..];
    }
}

/// A reader of length-prefixed fields; `None` means that the message ends too early.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }
    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }
    fn with_byte_length(&mut self) -> Option<&'b [u8]> {
        let n = self.byte()?;
        self.take(n.into())
    }
    fn with_short_length(&mut self) -> Option<&'b [u8]> {
        let n = self.short()?;
        self.take(n.into())
    }
}

fn read(message: &[u8]) -> Option<Result<String, &'static str>> {
    let mut fields = Fields(message);
    let _version_and_random = fields.take(2 + 32)?;
    let _session = fields.with_byte_length()?;
    let _suites = fields.with_short_length()?;
    let _compression = fields.with_byte_length()?;
    if fields.0.is_empty() {
        return Some(Err("its TLS greeting names no server"));
    }
    let mut extensions = Fields(fields.with_short_length()?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let data = extensions.with_short_length()?;
        match kind {
            EXT_ENCRYPTED_HELLO => return Some(Err("its TLS greeting is encrypted, which hides where it goes")),
            EXT_SERVER_NAME if name.is_some() => return Some(Err("its TLS greeting names two servers")),
            EXT_SERVER_NAME => {
                let mut list = Fields(Fields(data).with_short_length()?);
                if list.byte()? != HOST_NAME {
                    return Some(Err("its TLS greeting names a server in an unknown way"));
                }
                let host = list.with_short_length()?;
                if !list.0.is_empty() {
                    return Some(Err("its TLS greeting names two servers"));
                }
                name = Some(std::str::from_utf8(host).ok()?.to_owned());
            }
            _ => {}
        }
    }
    Some(name.ok_or("its TLS greeting names no server"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{ServerName, server_name};

    fn field16(data: &[u8]) -> Vec<u8> {
        [&u16::try_from(data.len()).expect("short").to_be_bytes()[..], data].concat()
    }

    fn sni(host: &str) -> Vec<u8> {
        let entry = [&[0][..], &field16(host.as_bytes())].concat();
        [&0_u16.to_be_bytes()[..], &field16(&field16(&entry))].concat()
    }

    /// A greeting with these extensions, cut into records of at most `record` bytes.
    fn hello(extensions: &[u8], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(field16(extensions));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        message.chunks(record).flat_map(|part| [&[22, 3, 1][..], &field16(part)].concat()).collect()
    }

    #[test]
    fn the_name_is_found_however_the_records_are_cut() {
        for record in [1, 7, 50, 16_000] {
            let bytes = hello(&sni("pypi.org"), record);
            assert_eq!(server_name(&bytes), ServerName::Is("pypi.org".to_owned()), "{record}");
            for end in 0..bytes.len() {
                assert_eq!(server_name(&bytes[..end]), ServerName::Incomplete, "{record} {end}");
            }
        }
    }

    #[test]
    fn what_hides_or_doubles_the_name_is_refused() {
        let ech = [0xfe, 0x0d, 0, 1, 0].to_vec();
        for extensions in
            [vec![], [sni("a.org"), sni("b.org")].concat(), [sni("a.org"), ech.clone()].concat(), [ech, sni("a.org")].concat()]
        {
            assert!(matches!(server_name(&hello(&extensions, 16_000)), ServerName::Refused(_)));
        }
        let two = [&[0][..], &field16(b"a.org"), &[0], &field16(b"b.org")].concat();
        let doubled = [&0_u16.to_be_bytes()[..], &field16(&field16(&two))].concat();
        assert!(matches!(server_name(&hello(&doubled, 16_000)), ServerName::Refused(_)));
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-x",
            &[22, 3, 1, 0, 0],
            &[22, 9, 9, 0, 4],
            &[21, 3, 1, 0, 2, 1, 0],
            &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        ] {
            assert!(matches!(server_name(other), ServerName::Refused(_)), "{other:?}");
        }
    }

    #[test]
    fn no_cut_or_flip_panics() {
        let bytes = hello(&sni("pypi.org"), 40);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let _any_answer_will_do = server_name(&damaged);
            }
        }
    }
}
