//! Numbers as bytes: little endian, or in 7-bit groups, the least first (LEB128), where most are
//! small. What is read may be anything.

/// Takes values from the front of a slice; `None` when it is too short or a value is impossible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    #[inline]
    pub(super) fn slice(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(slice)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number in at most ten groups.
    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            if at == 9 && byte > 1 {
                return None; // More than 64 bits.
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }

    #[inline]
    pub(super) fn varint_u32(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    /// A signed number: the sign is the lowest bit.
    #[inline]
    pub(super) fn varint_i64(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

/// Where bytes are put one after the other.
pub(super) trait Put {
    fn put(&mut self, byte: u8);
    fn put_array<const N: usize>(&mut self, array: &[u8; N]);
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, array: &[u8; N]) {
        self.extend_from_slice(array);
    }
}

/// Bytes of one record on their way into a vector. A vector asks for each byte whether it has room: facts are
/// encoded with half as many instructions this way.
pub(super) struct Gathered {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Gathered {
    /// More than any fact has; more does not fit.
    pub(super) const BYTES_MAX: usize = 512;

    #[inline]
    pub(super) fn new() -> Self {
        Self { bytes: [0; Self::BYTES_MAX], length: 0 }
    }

    #[inline]
    pub(super) fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Put for Gathered {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.bytes[self.length % Self::BYTES_MAX] = byte;
        self.length += 1;
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, array: &[u8; N]) {
        let place = self.bytes[self.length..].first_chunk_mut();
        *place.expect("there is room for a record") = *array;
        self.length += N;
    }
}

#[inline]
pub(super) fn put_varint(out: &mut impl Put, mut number: u64) {
    while number >= 0x80 {
        out.put(number as u8 | 0x80);
        number >>= 7;
    }
    out.put(number as u8);
}

#[inline]
pub(super) fn put_varint_i64(out: &mut impl Put, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, number);
                put_varint_i64(&mut bytes, number.cast_signed());
                put_varint_i64(&mut bytes, number.wrapping_neg().cast_signed());
                let mut read = Bytes(&bytes);
                assert_eq!(read.varint(), Some(number));
                assert_eq!(read.varint_i64(), Some(number.cast_signed()));
                assert_eq!(read.varint_i64(), Some(number.wrapping_neg().cast_signed()));
                assert!(read.0.is_empty());
            }
        }
    }

    #[test]
    fn a_number_that_does_not_end_or_fit_is_refused() {
        assert_eq!(Bytes(&[]).varint(), None);
        assert_eq!(Bytes(&[0x80; 9]).varint(), None);
        assert_eq!(Bytes(&[0xff; 20]).varint(), None);
        let mut largest = vec![0xff; 9];
        largest.push(1);
        assert_eq!(Bytes(&largest).varint(), Some(u64::MAX));
        largest[9] = 2;
        assert_eq!(Bytes(&largest).varint(), None);
        let mut bytes = Vec::new();
        put_varint(&mut bytes, 1 << 32);
        assert_eq!(Bytes(&bytes).varint_u32(), None);
    }
}
