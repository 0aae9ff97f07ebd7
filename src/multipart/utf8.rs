//! Whether bytes that arrive in pieces are text.

/// Checks that a file is text from its first byte to its last: UTF-8 without the bytes that no text
/// has ("binary data byte" of MIME Sniffing, section 3).
#[derive(Debug, Default)]
pub(super) struct TextCheck {
    /// The beginning of a character whose end has not come.
    held: [u8; 4],
    length: usize,
}

impl TextCheck {
    /// Takes the next bytes; false if they are no text.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return true };
            let Some(slot) = self.held.get_mut(self.length) else { return false };
            *slot = *first;
            self.length += 1;
            bytes = rest;
            match str::from_utf8(self.held.get(..self.length).unwrap_or_default()) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let whole = match str::from_utf8(bytes) {
            Ok(_) => bytes,
            Err(error) if error.error_len().is_some() => return false,
            Err(error) => {
                let (whole, rest) = bytes.split_at_checked(error.valid_up_to()).unwrap_or_default();
                for (slot, byte) in self.held.iter_mut().zip(rest) {
                    *slot = *byte;
                }
                self.length = rest.len();
                whole
            }
        };
        !whole.iter().any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31))
    }

    /// Whether the last character is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.length == 0
    }
}
