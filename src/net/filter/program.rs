//! The instructions of a filter.

use super::{ALL_CONNECTS, Sieve, TAG_BITS, TagKey};

/// Room that the UDP header takes before the datagram.
const HEADER: u32 = 8;

/// Where the parts of a request are (BEP 15), from the UDP header on.
const ID: u32 = HEADER;
const ACTION: u32 = HEADER + 8;

/// The length of the shortest connect, announce and scrape, with the UDP header.
const CONNECT_MIN: u32 = HEADER + 16;
const ANNOUNCE_MIN: u32 = HEADER + 98;
const SCRAPE_MIN: u32 = HEADER + 36;

/// The two words that a connect begins with.
const MAGIC: [u32; 2] = [0x417, 0x2710_1980];

/// The instructions of `sieve`, for [`super::attach`].
///
/// Through come connects with the protocol's number, announces of 98 bytes and more, and scrapes of 36 and more, as
/// `wire::udp::parse` takes them, from any port but 0; of connects a share, of the others those whose id has the tag of
/// their address.
pub fn program(sieve: &Sieve) -> Vec<libc::sock_filter> {
    let mut code = Code(Vec::new());
    code.load_half(0);
    code.drop_if_equal(0);
    code.push(LENGTH, 0);
    code.drop_if_below(CONNECT_MIN);
    code.load(ACTION);
    let connect = connect(sieve.connects);
    code.unless_equal_skip(0, connect.len());
    code.0.extend(connect);
    // The action is still in the accumulator.
    code.jump(EQUAL, ANNOUNCE, 0, 3);
    code.push(LENGTH, 0);
    // Past what is for scrapes.
    code.jump(AT_LEAST, ANNOUNCE_MIN, 6, 0);
    code.drop();
    code.drop_if_other(SCRAPE);
    code.push(LENGTH, 0);
    code.drop_if_below(SCRAPE_MIN);
    code.load(ID);
    code.push(SHIFT_RIGHT, 28);
    for (slot, key) in &sieve.slots {
        let check = match key {
            Some(key) => tagged(key, sieve.is_v6),
            None => vec![accept()],
        };
        code.unless_equal_skip((*slot).into(), check.len());
        code.0.extend(check);
    }
    code.drop();
    code.0
}

/// Ends with the verdict on a connect.
fn connect(share: u32) -> Vec<libc::sock_filter> {
    let mut code = Code(Vec::new());
    for (at, word) in [ID, ID + 4].into_iter().zip(MAGIC) {
        code.load(at);
        code.drop_if_other(word);
    }
    if share < ALL_CONNECTS {
        code.load(RANDOM);
        code.jump(AT_LEAST, share << 16, 0, 1);
        code.drop();
    }
    code.accept();
    code.0
}

/// Ends with the verdict on a request whose id should have a tag under `key`; see [`super::tag`].
fn tagged(key: &TagKey, is_v6: bool) -> Vec<libc::sock_filter> {
    let [first, each, second, third, last] = *key;
    let address: &[u32] = match is_v6 {
        false => &[NETWORK + 12],
        true => &[NETWORK + 8, NETWORK + 12, NETWORK + 16, NETWORK + 20],
    };
    let mut code = Code(Vec::new());
    code.push(LOAD_INDEX, first);
    for &at in address {
        code.load(at);
        code.push(XOR_INDEX, 0);
        code.push(MULTIPLY, each);
        code.fold(16);
        code.push(TO_INDEX, 0);
    }
    code.load_half(ID);
    code.push(ADD_INDEX, 0);
    code.push(MULTIPLY, second);
    code.fold(15);
    code.push(XOR, third);
    code.push(MULTIPLY, last);
    code.push(SHIFT_RIGHT, 32 - TAG_BITS);
    code.push(TO_INDEX, 0);
    // The tag follows the 16 bits of time.
    code.load(ID);
    code.push(SHIFT_RIGHT, 16 - TAG_BITS);
    code.push(AND, (1 << TAG_BITS) - 1);
    code.jump(EQUAL_INDEX, 0, 1, 0);
    code.drop();
    code.accept();
    code.0
}

/// Instructions one after the other. Comparisons are with the accumulator; where they say `drop`, that is the verdict.
struct Code(Vec<libc::sock_filter>);

impl Code {
    fn push(&mut self, code: u32, operand: u32) {
        self.jump(code, operand, 0, 0);
    }

    fn jump(&mut self, code: u32, operand: u32, if_true: u8, if_false: u8) {
        self.0.push(instruction(code, operand, if_true, if_false));
    }

    fn load(&mut self, at: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    }

    fn load_half(&mut self, at: u32) {
        self.push(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at);
    }

    /// The accumulator, xor itself shifted to the right.
    fn fold(&mut self, bits: u32) {
        self.push(TO_INDEX, 0);
        self.push(SHIFT_RIGHT, bits);
        self.push(XOR_INDEX, 0);
    }

    fn drop_if_equal(&mut self, value: u32) {
        self.jump(EQUAL, value, 0, 1);
        self.drop();
    }

    fn drop_if_other(&mut self, value: u32) {
        self.jump(EQUAL, value, 1, 0);
        self.drop();
    }

    fn drop_if_below(&mut self, value: u32) {
        self.jump(AT_LEAST, value, 1, 0);
        self.drop();
    }

    fn unless_equal_skip(&mut self, value: u32, instructions: usize) {
        let skip = u8::try_from(instructions).expect("a part has less than 100 instructions");
        self.jump(EQUAL, value, 0, skip);
    }

    fn drop(&mut self) {
        self.push(VERDICT, 0);
    }

    fn accept(&mut self) {
        self.0.push(accept());
    }
}

/// All of the datagram.
fn accept() -> libc::sock_filter {
    instruction(VERDICT, u32::MAX, 0, 0)
}

fn instruction(code: u32, operand: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k: operand }
}

/// Actions of BEP 15.
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;

/// The length of the datagram, with its UDP header.
const LENGTH: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
const VERDICT: u32 = libc::BPF_RET | libc::BPF_K;
const LOAD_INDEX: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const MULTIPLY: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const XOR: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K;
const XOR_INDEX: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
const ADD_INDEX: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
/// The accumulator into the index register.
const TO_INDEX: u32 = libc::BPF_MISC;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const EQUAL_INDEX: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

/// `SKF_NET_OFF`: from here on loads are from the IP header (`linux/filter.h`).
const NETWORK: u32 = -0x10_0000_i32 as u32;
/// `SKF_AD_OFF + SKF_AD_RANDOM`: a load from here gives a random word.
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
