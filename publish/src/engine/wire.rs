//! What peers say to each other (BEP 3, 6, 9, 10): bytes to values and back, without I/O.

use shard::InfoHash;

use crate::bencode::{Value, write_number, write_string};

/// What a handshake says: 1 byte length, `BitTorrent protocol`, 8 bytes of flags, the infohash, the peer id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The torrent that is talked about.
    pub info_hash: InfoHash,
    /// Who says it.
    pub peer_id: [u8; 20],
    /// It speaks the Fast extension (BEP 6).
    pub fast: bool,
    /// It speaks the extension protocol (BEP 10).
    pub extended: bool,
}

impl Handshake {
    /// Reads it; `None` is another protocol.
    pub fn read(bytes: &[u8; HANDSHAKE_BYTES]) -> Option<Self> {
        let flags = bytes[..28].strip_prefix(PROTOCOL)?;
        Some(Self {
            info_hash: InfoHash(bytes[28..48].try_into().expect("20 bytes")),
            peer_id: bytes[48..].try_into().expect("20 bytes"),
            fast: flags[7] & FLAG_FAST != 0,
            extended: flags[5] & FLAG_EXTENDED != 0,
        })
    }

    /// Writes it.
    pub fn write(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut bytes = [0; HANDSHAKE_BYTES];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[25] = if self.extended { FLAG_EXTENDED } else { 0 };
        bytes[27] = if self.fast { FLAG_FAST } else { 0 };
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..].copy_from_slice(&self.peer_id);
        bytes
    }
}

/// The bytes of a handshake.
pub const HANDSHAKE_BYTES: usize = 68;

/// What every handshake begins with.
pub const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// A part of a piece that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The piece.
    pub piece: u32,
    /// Its first byte in the piece.
    pub begin: u32,
    /// Its bytes.
    pub length: u32,
}

/// A message of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Nothing, but it is there.
    KeepAlive,
    /// It does not answer requests.
    Choke,
    /// It answers requests.
    Unchoke,
    /// It wants something.
    Interested,
    /// It wants nothing.
    NotInterested,
    /// It has a piece.
    Have(u32),
    /// It has these pieces, the first in the highest bit of the first byte.
    Bitfield(&'a [u8]),
    /// It asks for a block.
    Request(Block),
    /// A block.
    Piece {
        /// The piece.
        piece: u32,
        /// The first byte in it.
        begin: u32,
        /// The bytes.
        block: &'a [u8],
    },
    /// It no longer asks for a block.
    Cancel(Block),
    /// It has all pieces (BEP 6).
    HaveAll,
    /// It has no piece (BEP 6).
    HaveNone,
    /// It will not answer a request (BEP 6).
    Reject(Block),
    /// A message of an extension (BEP 10); 0 is the handshake of that protocol.
    Extended {
        /// Which extension.
        id: u8,
        /// What it says.
        payload: &'a [u8],
    },
    /// One that says nothing here: a DHT port, a suggestion, or a number that is not known.
    Other(u8),
}

/// A message that no peer says that keeps to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// It says that it is longer than any that is expected.
    #[error("a message of {0} bytes")]
    Long(u32),
    /// Its length is not that of its kind.
    #[error("message {0} has a wrong length")]
    Length(u8),
}

/// The message at the beginning of `bytes` and the bytes it takes; `None` when it is not yet whole.
///
/// It is refused as soon as its length shows that it is longer than `bytes_max`.
pub fn message(bytes: &[u8], bytes_max: u32) -> Result<Option<(Message<'_>, usize)>, Malformed> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    if length > bytes_max {
        return Err(Malformed::Long(length));
    }
    let Some(said) = rest.get(..length as usize) else { return Ok(None) };
    let message = match said.split_first() {
        None => Message::KeepAlive,
        Some((&id, payload)) => payload_of(id, payload).ok_or(Malformed::Length(id))?,
    };
    Ok(Some((message, 4 + length as usize)))
}

fn payload_of(id: u8, payload: &[u8]) -> Option<Message<'_>> {
    let plain = |message| payload.is_empty().then_some(message);
    match id {
        0 => plain(Message::Choke),
        1 => plain(Message::Unchoke),
        2 => plain(Message::Interested),
        3 => plain(Message::NotInterested),
        4 => payload.try_into().ok().map(|piece| Message::Have(u32::from_be_bytes(piece))),
        5 => Some(Message::Bitfield(payload)),
        6 => block(payload).map(Message::Request),
        7 => {
            let (piece, rest) = payload.split_first_chunk()?;
            let (begin, block) = rest.split_first_chunk()?;
            Some(Message::Piece {
                piece: u32::from_be_bytes(*piece),
                begin: u32::from_be_bytes(*begin),
                block,
            })
        }
        8 => block(payload).map(Message::Cancel),
        14 => plain(Message::HaveAll),
        15 => plain(Message::HaveNone),
        16 => block(payload).map(Message::Reject),
        20 => payload.split_first().map(|(&id, payload)| Message::Extended { id, payload }),
        _ => Some(Message::Other(id)),
    }
}

fn block(payload: &[u8]) -> Option<Block> {
    let payload: &[u8; 12] = payload.try_into().ok()?;
    let at = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
    Some(Block { piece: at(0), begin: at(4), length: at(8) })
}

impl Message<'_> {
    /// Writes it behind what is in `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::KeepAlive => out.extend_from_slice(&[0; 4]),
            Self::Choke => head(out, 0, 0),
            Self::Unchoke => head(out, 1, 0),
            Self::Interested => head(out, 2, 0),
            Self::NotInterested => head(out, 3, 0),
            Self::Have(piece) => {
                head(out, 4, 4);
                out.extend_from_slice(&piece.to_be_bytes());
            }
            Self::Bitfield(bits) => {
                head(out, 5, bits.len());
                out.extend_from_slice(bits);
            }
            Self::Request(block) => write_block(out, 6, block),
            Self::Piece { piece, begin, block } => {
                piece_head(out, Block { piece, begin, length: block.len() as u32 });
                out.extend_from_slice(block);
            }
            Self::Cancel(block) => write_block(out, 8, block),
            Self::HaveAll => head(out, 14, 0),
            Self::HaveNone => head(out, 15, 0),
            Self::Reject(block) => write_block(out, 16, block),
            Self::Extended { id, payload } => {
                head(out, 20, 1 + payload.len());
                out.push(id);
                out.extend_from_slice(payload);
            }
            Self::Other(id) => head(out, id, 0),
        }
    }
}

/// Writes what comes before the bytes of a block: [`PIECE_HEAD_BYTES`].
pub fn piece_head(out: &mut Vec<u8>, block: Block) {
    head(out, 7, 8 + block.length as usize);
    out.extend_from_slice(&block.piece.to_be_bytes());
    out.extend_from_slice(&block.begin.to_be_bytes());
}

/// The bytes of a `piece` message before its block.
pub const PIECE_HEAD_BYTES: usize = 13;

fn write_block(out: &mut Vec<u8>, id: u8, block: Block) {
    head(out, id, 12);
    out.extend(
        [block.piece, block.begin, block.length].iter().flat_map(|number| number.to_be_bytes()),
    );
}

fn head(out: &mut Vec<u8>, id: u8, payload_bytes: usize) {
    out.extend_from_slice(&(1 + payload_bytes as u32).to_be_bytes());
    out.push(id);
}

/// What the handshake of the extension protocol says that matters here (BEP 10).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    /// The number by which the peer is told metadata (BEP 9).
    pub metadata_id: Option<u8>,
    /// The size of the info dictionary in bytes, when it has it.
    pub metadata_size: Option<u32>,
    /// The client's name and version, as it says it; printable, at most 64 characters.
    pub client: Option<String>,
    /// How many requests may wait for its answer.
    pub requests_max: Option<u32>,
}

impl Extensions {
    /// Reads the payload of an extended message 0; what is not understood is left out.
    pub fn read(payload: &[u8]) -> Self {
        let number = |key| Value::find(payload, key).and_then(Value::integer);
        let metadata_id = Value::find(payload, "m")
            .and_then(|m| m.get("ut_metadata"))
            .and_then(Value::integer)
            .and_then(|id| u8::try_from(id).ok())
            .filter(|&id| id != 0);
        let client = Value::find(payload, "v").and_then(Value::bytes).and_then(printable);
        Self {
            metadata_id,
            metadata_size: number("metadata_size").and_then(|size| u32::try_from(size).ok()),
            client,
            requests_max: number("reqq").and_then(|requests| u32::try_from(requests).ok()),
        }
    }

    /// Writes it as the payload of an extended message 0, with the `port` that this side listens on.
    pub fn write(&self, port: Option<u16>) -> Vec<u8> {
        let mut out = b"d1:md".to_vec();
        if let Some(id) = self.metadata_id {
            write_string(&mut out, b"ut_metadata");
            write_number(&mut out, id.into());
        }
        out.push(b'e');
        if let Some(size) = self.metadata_size {
            write_string(&mut out, b"metadata_size");
            write_number(&mut out, size.into());
        }
        if let Some(port) = port {
            write_string(&mut out, b"p");
            write_number(&mut out, port.into());
        }
        if let Some(requests) = self.requests_max {
            write_string(&mut out, b"reqq");
            write_number(&mut out, requests.into());
        }
        if let Some(client) = &self.client {
            write_string(&mut out, b"v");
            write_string(&mut out, client.as_bytes());
        }
        out.push(b'e');
        out
    }
}

/// The part of the info dictionary that a message of `ut_metadata` asks for (BEP 9), counted in [`METADATA_PART_BYTES`].
pub fn metadata_request(payload: &[u8]) -> Option<u32> {
    let number = |key| Value::find(payload, key).and_then(Value::integer);
    if number("msg_type") != Some(0) {
        return None;
    }
    u32::try_from(number("piece")?).ok()
}

/// The payload that answers such a request: the part of `info`, or that there is none.
pub fn metadata_reply(info: &[u8], part: u32) -> Vec<u8> {
    let begin = (part as usize).saturating_mul(METADATA_PART_BYTES);
    match info.get(begin..).filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            let mut out =
                format!("d8:msg_typei1e5:piecei{part}e10:total_sizei{}ee", info.len()).into_bytes();
            out.extend_from_slice(&rest[..rest.len().min(METADATA_PART_BYTES)]);
            out
        }
        None => format!("d8:msg_typei2e5:piecei{part}ee").into_bytes(),
    }
}

/// The bytes of a part of the info dictionary (BEP 9), but of the last.
pub const METADATA_PART_BYTES: usize = 16 << 10;

/// The client that a peer id tells of: its two letters and version in Azureus' way, else nothing.
pub fn client_of(peer_id: &[u8; 20]) -> String {
    let [b'-', a, b, v1, v2, v3, v4, b'-', ..] = *peer_id else { return "unknown".into() };
    let name = match &[a, b] {
        b"TR" => "Transmission",
        b"LT" => "libtorrent",
        b"lt" => "rTorrent",
        b"qB" => "qBittorrent",
        b"DE" => "Deluge",
        b"UT" => "uTorrent",
        b"WW" => "WebTorrent",
        b"rQ" => "rqbit",
        b"mg" => "margay",
        b"BI" => "BiglyBT",
        b"AZ" => "Vuze",
        other => return printable(other).unwrap_or_else(|| "unknown".into()),
    };
    match printable(&[v1, v2, v3, v4]) {
        Some(version) => format!("{name} {version}"),
        None => name.into(),
    }
}

/// `text` when it can be shown to people: no control characters, 64 characters at most.
fn printable(text: &[u8]) -> Option<String> {
    let text: String =
        str::from_utf8(text).ok()?.chars().filter(|c| !c.is_control()).take(64).collect();
    (!text.is_empty()).then_some(text)
}

const FLAG_FAST: u8 = 0x04;
const FLAG_EXTENDED: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let block = Block { piece: 1, begin: 2, length: 3 };
        let messages = [
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(77),
            Message::Bitfield(&[0xff, 0x80]),
            Message::Request(block),
            Message::Piece { piece: 1, begin: 2, block: b"abc" },
            Message::Cancel(block),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block),
            Message::Extended { id: 3, payload: b"de" },
        ];
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.write(&mut bytes));
        let mut rest = &bytes[..];
        for expected in messages {
            let (read, length) = message(rest, 100).unwrap().unwrap();
            assert_eq!(read, expected);
            // Not whole is not wrong.
            for shorter in 0..length {
                assert_eq!(message(&rest[..shorter], 100), Ok(None));
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert_eq!(message(&[0, 0, 0, 2, 0, 0], 100), Err(Malformed::Length(0)));
        assert_eq!(message(&[0, 0, 0, 1, 6], 100), Err(Malformed::Length(6)));
        assert_eq!(message(&[0, 0, 0, 1, 20], 100), Err(Malformed::Length(20)));
        assert_eq!(message(&[0, 0, 1, 0], 100), Err(Malformed::Long(256)));
        assert_eq!(message(&[255; 4], u32::MAX - 1), Err(Malformed::Long(u32::MAX)));
    }

    #[test]
    fn a_handshake_is_read_back_and_another_protocol_is_not() {
        let handshake = Handshake {
            info_hash: InfoHash([7; 20]),
            peer_id: *b"-TR3000-abcdefghijkl",
            fast: true,
            extended: true,
        };
        let mut bytes = handshake.write();
        assert_eq!(Handshake::read(&bytes), Some(handshake));
        assert_eq!(client_of(&handshake.peer_id), "Transmission 3000");
        bytes[3] = b'x';
        assert_eq!(Handshake::read(&bytes), None);
    }

    #[test]
    fn extensions_are_read_back() {
        let said = Extensions {
            metadata_id: Some(1),
            metadata_size: Some(31_235),
            client: Some("margay 1".into()),
            requests_max: Some(250),
        };
        assert_eq!(Extensions::read(&said.write(Some(6881))), said);
        assert_eq!(Extensions::read(b"garbage"), Extensions::default());
        assert_eq!(Extensions::read(b"d1:v3:a\nbe").client.as_deref(), Some("ab"));
    }

    #[test]
    fn metadata_is_answered_in_parts() {
        assert_eq!(metadata_request(b"d8:msg_typei0e5:piecei3ee"), Some(3));
        assert_eq!(metadata_request(b"d8:msg_typei1e5:piecei3ee"), None);
        let info = vec![7; METADATA_PART_BYTES + 5];
        assert!(metadata_reply(&info, 1).ends_with(b"10:total_sizei16389ee\x07\x07\x07\x07\x07"));
        assert_eq!(metadata_reply(&info, 2), b"d8:msg_typei2e5:piecei2ee");
        assert_eq!(metadata_reply(&info, u32::MAX), b"d8:msg_typei2e5:piecei4294967295ee");
    }
}
