//! A family in a shared store: all data that decides about a grant, and a seal.
//!
//! The seal is a MAC with a key of the servers. It covers the location of the record (prefix,
//! issuer and key) and all of its content. So an attacker with write access to the store can
//! neither change a record nor move it to another session. The attacker can still delete it, or
//! restore an older record of the same session, with which only the token that was current then can
//! be used.

use crate::keys::seal::{SEAL_BYTES, Seals};
use crate::session::family::{Family, Used};
use crate::session::secret::FamilyKey;

/// The maximum length of a record: a token, and so its claims, has at most 8 KiB.
pub const MAX_RECORD_BYTES: usize = 32 << 10;

const LABEL: &[u8] = b"keepstone session record";
const VERSION: u8 = 2;

/// The location of a record.
#[derive(Debug, Clone, Copy)]
pub struct Where<'w> {
    /// The prefix of the store's keys.
    pub prefix: &'w str,
    /// The key of the session.
    pub place: FamilyKey,
}

impl Family {
    /// The sealed record; `None` if it is too long or no key can seal it.
    #[must_use]
    pub fn seal(&self, at: &Where<'_>, seals: &Seals) -> Option<Vec<u8>> {
        let mut record = vec![VERSION, u8::from(self.kept.is_some())];
        record.extend(self.mark);
        record.extend(self.current);
        record.extend(self.absolute_expiry_us.to_be_bytes());
        record.extend(self.expiry_us.to_be_bytes());
        match &self.used {
            None => record.push(0),
            Some(used) => {
                record.push(1);
                record.extend(used.hash);
                record.extend(used.salt);
                record.extend(used.at_us.to_be_bytes());
            }
        }
        record.extend(u16::try_from(self.session.len()).ok()?.to_be_bytes());
        record.extend(self.session.as_bytes());
        record.extend(self.kept.as_deref().unwrap_or_default());
        let seal = seals.seal(&parts(at, &record))?;
        record.extend(seal);
        (record.len() <= MAX_RECORD_BYTES).then_some(record)
    }

    /// Reads a record at this location that has a seal of `seals`; `None` for anything else.
    #[must_use]
    pub fn unseal(record: &[u8], at: &Where<'_>, seals: &Seals) -> Option<Self> {
        if record.len() > MAX_RECORD_BYTES {
            return None;
        }
        let (record, seal) = record.split_last_chunk::<SEAL_BYTES>()?;
        if !seals.verify(&parts(at, record), seal) {
            return None;
        }
        let mut rest = record;
        let rest = &mut rest;
        let [VERSION, lives @ 0..=1] = take(rest)? else { return None };
        let (mark, current) = (take(rest)?, take(rest)?);
        let (absolute_expiry_us, expiry_us) = (number(rest)?, number(rest)?);
        let used = match take(rest)? {
            [0] => None,
            [1] => Some(Used { hash: take(rest)?, salt: take(rest)?, at_us: number(rest)? }),
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes(take(rest)?));
        let (session, kept) = rest.split_at_checked(length)?;
        let session = std::str::from_utf8(session).ok()?.to_owned();
        let kept = match lives {
            1 => Some(kept.to_vec()),
            _ if kept.is_empty() => None,
            _ => return None,
        };
        Some(Self { mark, current, used, session, kept, absolute_expiry_us, expiry_us })
    }
}

fn parts<'p>(at: &'p Where<'_>, record: &'p [u8]) -> [&'p [u8]; 4] {
    [LABEL, at.prefix.as_bytes(), &at.place.0, record]
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, more) = rest.split_first_chunk::<N>()?;
    *rest = more;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}
