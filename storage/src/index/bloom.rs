//! Split-block bloom filters (as Parquet specifies them): one for each block of rows, sized to its keys.

/// Bytes of one filter block: eight lanes of 32 bits.
pub(crate) const LANES_BYTES: usize = 32;
/// One odd multiplier a lane, from the Parquet specification.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Appends a filter of `keys` to `out`, of about `bits_per_key` bits each.
pub(crate) fn build(keys: &[u64], bits_per_key: usize, out: &mut Vec<u8>) {
    let blocks = (keys.len() * bits_per_key).div_ceil(LANES_BYTES * 8);
    let start = out.len();
    out.resize(start + blocks * LANES_BYTES, 0);
    let Some(filter) = out.get_mut(start..) else { return };
    for &key in keys {
        let at = block_of(key, blocks) * LANES_BYTES;
        for (lane, salt) in filter.get_mut(at..at + LANES_BYTES).unwrap_or_default().chunks_exact_mut(4).zip(SALT) {
            let bit = (key as u32).wrapping_mul(salt) >> 27;
            lane[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
}

/// Which block of a filter of `blocks` blocks holds `key`.
pub(crate) fn block_of(key: u64, blocks: usize) -> usize {
    (((key >> 32) * blocks as u64) >> 32) as usize
}

/// Whether a filter's block, found by [`block_of`], may hold `key`.
pub(crate) fn block_has(block: &[u8], key: u64) -> bool {
    block.chunks_exact(4).zip(SALT).all(|(lane, salt)| {
        let bit = (key as u32).wrapping_mul(salt) >> 27;
        lane[(bit / 8) as usize] & 1 << (bit % 8) != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_is_found_and_little_else() {
        let keys: Vec<u64> = (0..5_000_u64).map(|i| xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes())).collect();
        let mut filter = Vec::new();
        build(&keys, 8, &mut filter);
        let blocks = filter.len() / LANES_BYTES;
        let has = |key: u64| {
            let at = block_of(key, blocks) * LANES_BYTES;
            block_has(&filter[at..at + LANES_BYTES], key)
        };
        assert!(keys.iter().all(|&key| has(key)));
        let wrong = (5_000..105_000_u64).filter(|i| has(xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()))).count();
        assert!(wrong < 5_000, "{wrong} of 100,000");
    }
}
