//! Decimal numbers in their written form, for `multipleOf`.

/// A decimal number of few digits, without its sign: `digits` divided by ten to the power of
/// `decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: u64,
    decimals: u32,
}

impl Decimal {
    /// Every double keeps this many digits, so the number equals its text.
    const MOST: usize = 15;

    /// Reads a number; `None` for one with an exponent or more digits.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let (mut digits, mut count) = (0_u64, 0);
        for byte in whole.bytes().chain(fraction.bytes()) {
            count += 1;
            if !byte.is_ascii_digit() || count > Self::MOST {
                return None;
            }
            digits = digits * 10 + u64::from(byte - b'0');
        }
        Some(Self { digits, decimals: u32::try_from(fraction.len()).ok()? })
    }

    /// Whether the number `text` is a multiple.
    pub(super) fn divides(self, text: &str) -> bool {
        let Some(value) = Self::read(text).filter(|_| self.digits > 0) else { return false };
        let shared = self.decimals.min(value.decimals);
        // Fifteen digits and fifteen zeros fit.
        let value_scaled = u128::from(value.digits) * 10_u128.pow(self.decimals - shared);
        let step_scaled = u128::from(self.digits) * 10_u128.pow(value.decimals - shared);
        value_scaled.is_multiple_of(step_scaled)
    }
}
