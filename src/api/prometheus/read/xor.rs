//! Prometheus's XOR chunks: the number of samples, then a stream of bits with the second differences of times and the
//! exclusive-ors of values.

/// Packs samples of rising times. At most 65,535.
pub(super) fn pack(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut bits = Bits { bytes: (times.len() as u16).to_be_bytes().to_vec(), free: 0 };
    let (mut time, mut delta, mut value) = (0_i64, 0_u64, 0_u64);
    let mut window: Option<(u32, u32)> = None;
    for (at, (&next_time, next)) in times.iter().zip(values).enumerate() {
        let next_value = next.to_bits();
        match at {
            0 => {
                let zigzag = ((next_time << 1) ^ (next_time >> 63)) as u64;
                bits.varint(zigzag);
                bits.push(next_value, 64);
            }
            1 => {
                delta = next_time.wrapping_sub(time) as u64;
                bits.varint(delta);
                bits.value(value ^ next_value, &mut window);
            }
            _ => {
                let next_delta = next_time.wrapping_sub(time) as u64;
                bits.second_difference(next_delta.wrapping_sub(delta) as i64);
                delta = next_delta;
                bits.value(value ^ next_value, &mut window);
            }
        }
        (time, value) = (next_time, next_value);
    }
    bits.bytes
}

/// Bits, the highest of a byte first.
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used.
    free: u32,
}

impl Bits {
    /// Appends the lowest `count` bits.
    fn push(&mut self, bits: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let piece = (bits >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece << (self.free - take)) as u8;
            }
            self.free -= take;
            left -= take;
        }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(number & 0x7f | 0x80, 8);
            number >>= 7;
        }
        self.push(number, 8);
    }

    fn second_difference(&mut self, dod: i64) {
        let fits = |bits: u32| (-((1 << (bits - 1)) - 1)..=1 << (bits - 1)).contains(&dod);
        match dod {
            0 => self.push(0, 1),
            _ if fits(14) => {
                self.push(0b10, 2);
                self.push(dod as u64, 14);
            }
            _ if fits(17) => {
                self.push(0b110, 3);
                self.push(dod as u64, 17);
            }
            _ if fits(20) => {
                self.push(0b1110, 4);
                self.push(dod as u64, 20);
            }
            _ => {
                self.push(0b1111, 4);
                self.push(dod as u64, 64);
            }
        }
    }

    /// What differs of a value, in the window of bits of the one before where it fits.
    fn value(&mut self, differs: u64, window: &mut Option<(u32, u32)>) {
        if differs == 0 {
            return self.push(0, 1);
        }
        // The number of leading zeros is told in five bits.
        let (leading, trailing) = (differs.leading_zeros().min(31), differs.trailing_zeros());
        if let Some((known_leading, known_trailing)) = *window
            && leading >= known_leading
            && trailing >= known_trailing
        {
            self.push(0b10, 2);
            return self.push(differs >> known_trailing, 64 - known_leading - known_trailing);
        }
        *window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        self.push(0b11, 2);
        self.push(u64::from(leading), 5);
        // 64 is told as 0.
        self.push(u64::from(significant & 63), 6);
        self.push(differs >> trailing, significant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_format() {
        // One sample: count, zigzag time, the value's eight bytes.
        assert_eq!(pack(&[1000], &[1.0]), [0, 1, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        // The second: time 1000 later, the same value (bit 0). The third: no second difference, the same value.
        let three = pack(&[1000, 2000, 3000], &[1.0; 3]);
        assert_eq!(three[..2], [0, 3]);
        assert_eq!(three[12..], [0xe8, 0x07, 0b0000_0000]);
        // 1.0 ^ 2.0 = 0x7ff0000000000000: 1 leading zero, 11 significant bits: 11 00001 001011 11111111111.
        let two = pack(&[0, 1], &[1.0, 2.0]);
        assert_eq!(two[11..], [0x01, 0b1100_0010, 0b0101_1111, 0b1111_1111]);
    }

    #[test]
    fn second_differences_take_as_few_bits_as_they_can() {
        let bits = |dod: i64| {
            let mut bits = Bits { bytes: Vec::new(), free: 0 };
            bits.second_difference(dod);
            bits.bytes.len() as u32 * 8 - bits.free
        };
        assert_eq!([0, 1, 8192, 8193, -8191, -8192].map(bits), [1, 16, 16, 20, 16, 20]);
        assert_eq!([65_536, 65_537, 524_288, 524_289].map(bits), [20, 24, 24, 68]);
    }
}
