//! A checksum of bytes that we store, which also tells short texts from each other.

const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a. Each step is a bijection of the state, so a change of any one byte always changes the sum.
pub(crate) fn checksum(bytes: impl IntoIterator<Item = u8>) -> u64 {
    checksum_on(START, bytes)
}

/// The same for the bytes behind others, whose sum is `sum`.
pub(crate) fn checksum_on(sum: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(PRIME))
}
