//! What becomes of a token that is presented.

use serde_json::{Map, Value};

use crate::clock::MAX_TOLERANCE;
use crate::clock::micros;
use crate::session::config::RefreshConfig;
use crate::session::secret::FamilyKey;

/// A family that begins.
#[derive(Clone, PartialEq, Eq)]
pub struct NewFamily {
    /// Where its record is.
    pub place: FamilyKey,
    /// A hash of its name.
    pub mark: [u8; 16],
    /// The hash of its first token.
    pub current: [u8; 32],
    /// Its `sid`.
    pub session: String,
    /// A [`SessionData`], encoded.
    pub kept: Vec<u8>,
}

/// A token that is used, as the store sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshAttempt {
    /// Where the record of its family is.
    pub place: FamilyKey,
    /// A hash of the name of its family.
    pub mark: [u8; 16],
    /// The [`audience_mark`](crate::session::audience_mark) of the guard it is used at.
    pub audience: [u8; 16],
    /// Its own hash.
    pub presented: [u8; 32],
    /// What its successor is to be made with, where this is its first use.
    pub salt: [u8; 32],
    /// The hash of that successor.
    pub successor: [u8; 32],
    /// By the clock of whoever uses it, no session can have begun later than this second.
    pub latest_born_s: u64,
    /// By the same clock, one that began before this second is over.
    pub earliest_born_s: u64,
}

impl RefreshAttempt {
    /// The same, by a clock that says which seconds are the earliest and the latest.
    #[must_use]
    pub fn by_clock(self, earliest_born_s: u64, latest_born_s: u64) -> Self {
        Self { latest_born_s, earliest_born_s, ..self }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is no such family, or none any more.
    Unknown,
    /// The successor is the one by this salt.
    Next {
        /// The caller's own, or that of who came first.
        salt: [u8; 32],
        /// What the family keeps.
        kept: Vec<u8>,
    },
    /// It was used before: the family has ended, and its session is to be revoked.
    Reused {
        /// The `sid`.
        session: String,
    },
    /// There is a record, and no key of the servers has sealed it.
    Unsealed,
    /// The session began in the future of whoever asks, who could issue no access token for it, or
    /// is over by their clock and not by that of the store. Nothing was used.
    Ahead,
}

macro_rules! without_secrets {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
without_secrets!(NewFamily, RefreshAttempt, Family, Used, SessionData);

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Next { .. } => "Next",
            Self::Reused { .. } => "Reused",
            Self::Unsealed => "Unsealed",
            Self::Ahead => "Ahead",
        })
    }
}

/// A family, on the clock of whoever keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Family {
    pub(super) mark: [u8; 16],
    pub(super) current: [u8; 32],
    pub(super) used: Option<Used>,
    pub(super) session: String,
    /// `None` where it has ended by a replay.
    pub(super) kept: Option<Vec<u8>>,
    pub(super) ends_us: u64,
    pub(super) forgotten_us: u64,
}

/// The token before the current one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) hash: [u8; 32],
    pub(super) salt: [u8; 32],
    pub(super) at_us: u64,
}

impl Family {
    /// A family that begins at `now_us` of a clock that never goes back.
    #[must_use]
    pub fn open(opening: NewFamily, config: &RefreshConfig, now_us: u64) -> Self {
        let ends_us = now_us.saturating_add(micros(config.lifetime));
        Self {
            mark: opening.mark,
            current: opening.current,
            used: None,
            session: opening.session,
            kept: Some(opening.kept),
            ends_us,
            forgotten_us: forgotten(ends_us, config, now_us),
        }
    }

    /// For how many milliseconds it is worth keeping from now on.
    #[must_use]
    pub fn left_ms(&self, now_us: u64) -> u64 {
        self.forgotten_us.saturating_sub(now_us).div_ceil(1_000)
    }

    /// Whether nothing can come of it any more.
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.forgotten_us
    }

    /// Uses a token. `remembered_us` is how long a family that ends here is remembered, so that who
    /// presents its tokens then is told the same, and its session is revoked again if need be.
    pub fn present(
        &mut self,
        presented: &RefreshAttempt,
        config: &RefreshConfig,
        remembered_us: u64,
        now_us: u64,
    ) -> Outcome {
        if self.is_over(now_us) || presented.mark != self.mark {
            return Outcome::Unknown;
        }
        if let Some(kept) = &self.kept {
            // Its next access token would be good where the login was not meant for. Nothing is
            // used up.
            if !kept.starts_with(&presented.audience) {
                return Outcome::Unknown;
            }
            let born_s = born_s(kept).unwrap_or(0);
            if born_s > presented.latest_born_s {
                return Outcome::Ahead;
            }
            if born_s < presented.earliest_born_s {
                let is_over = now_us / 1_000_000 > born_s.saturating_add(longest_s(config));
                return if is_over { Outcome::Unknown } else { Outcome::Ahead };
            }
            if presented.presented == self.current {
                self.current = presented.successor;
                self.used =
                    Some(Used { hash: presented.presented, salt: presented.salt, at_us: now_us });
                self.forgotten_us = forgotten(self.ends_us, config, now_us);
                return Outcome::Next { salt: presented.salt, kept: kept.clone() };
            }
            let window_us = micros(config.reuse_window);
            let again = self.used.as_mut().filter(|used| {
                used.hash == presented.presented && used.at_us.abs_diff(now_us) < window_us
            });
            if let Some(used) = again {
                // The clock was set back by less than the window: it does not open twice.
                used.at_us = used.at_us.min(now_us);
                return Outcome::Next { salt: used.salt, kept: kept.clone() };
            }
            self.kept = None;
            self.forgotten_us = self.ends_us.min(now_us.saturating_add(remembered_us));
        }
        Outcome::Reused { session: self.session.clone() }
    }

    /// What it takes in memory, in about so many bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The map has room for one and a half.
        let entry = size_of::<FamilyKey>() + size_of::<Self>();
        entry * 3 / 2 + self.session.len() + self.kept.as_ref().map_or(0, Vec::len)
    }
}

/// After so many seconds a session is over by any clock.
pub(crate) fn longest_s(config: &RefreshConfig) -> u64 {
    (config.lifetime + 2 * MAX_TOLERANCE).as_secs()
}

/// The second of the login, which [`SessionData::encode`] has written behind the audience.
fn born_s(kept: &[u8]) -> Option<u64> {
    let (_, rest) = kept.split_first_chunk::<16>()?;
    rest.first_chunk::<8>().map(|born| u64::from_be_bytes(*born))
}

fn forgotten(ends_us: u64, config: &RefreshConfig, now_us: u64) -> u64 {
    config.idle.map_or(ends_us, |idle| ends_us.min(now_us.saturating_add(micros(idle))))
}

/// What a family keeps for the access tokens to come.
#[derive(Clone, PartialEq)]
pub struct SessionData {
    /// The [`audience_mark`](crate::session::audience_mark) of the guard that began the session.
    pub audience: [u8; 16],
    /// The second of the login: a revocation of its subject that is not before this ends the
    /// family.
    pub born_s: u64,
    /// How long its access tokens live, in seconds; `None` for the default.
    pub expires_in_s: Option<u64>,
    /// The claims, `sid` among them.
    pub claims: Map<String, Value>,
}

impl SessionData {
    /// The bytes for a store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // `Family::present` looks for the audience at the start.
        let mut bytes = self.audience.to_vec();
        bytes.extend(self.born_s.to_be_bytes());
        bytes.extend(self.expires_in_s.unwrap_or(0).to_be_bytes());
        bytes.extend(Value::Object(self.claims.clone()).to_string().into_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (audience, rest) = bytes.split_first_chunk::<16>()?;
        let (born, rest) = rest.split_first_chunk::<8>()?;
        let (expires_in, claims) = rest.split_first_chunk::<8>()?;
        let Ok(Value::Object(claims)) = serde_json::from_slice(claims) else { return None };
        let expires_in_s = Some(u64::from_be_bytes(*expires_in)).filter(|seconds| *seconds > 0);
        let born_s = u64::from_be_bytes(*born);
        Some(Self { audience: *audience, born_s, expires_in_s, claims })
    }

    /// The claim `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// The claim `sid`.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.claims.get("sid").and_then(Value::as_str)
    }
}
